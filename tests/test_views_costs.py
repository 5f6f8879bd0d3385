"""The views of what is known: tables and pictures that say their labels in words, and movable assumptions."""

import re

import pytest

from svmlib import costs, decide
from svmlib.views import assumptions as movable
from svmlib.views import compare_bars, knowledge
from svmlib.views import decision as pictures

STEPS = decide.typical()
EPYC = costs.prices("epyc-2020")


def test_the_evidence_lists_conflicting_rows_and_marks_the_unverified():
    table = knowledge.evidence("VMLOAD")
    for words in ("epyc-2020", "amd-unnamed-2019", "◐ derived", "● published", ">270<", ">64<"):
        assert words in table
    assert "UNVERIFIED: in no list" in knowledge.evidence("RDMSR")
    with pytest.raises(costs.PriceError, match="nothing is known of 'FOO'"):
        knowledge.evidence("FOO")


def test_the_versions_say_which_one_restored_what_and_when():
    table = knowledge.versions()
    assert table.count("<tr>") == 1 + 6
    assert "right after every VMRUN" in table


def test_the_calibration_says_its_count_and_why_a_target_is_missed():
    table = knowledge.calibration(decide.calibration())
    assert table.count(">identity<") == 5
    assert "two published numbers contradict each other" in table
    assert "0 failed" in table


def test_the_answers_say_who_is_cheaper_in_words():
    table = knowledge.answers(decide.decide(draws=2000))
    for words in ("A cheaper, 100%", "B cheaper", "open; A wins", "haswell", "assumed", "below 0.37"):
        assert words in table


def test_without_a_move_the_assumptions_say_what_the_decision_says():
    html = movable.compared(STEPS, ("lazy", "vmload_before_stgi"), EPYC, movable.terms(), 0.059)
    assert "lazy less vmload_before_stgi is −22 (−32 to −12) ticks an exit" in html
    assert "probability of 100%" in html
    assert 'role="status"' in html


def test_what_both_paths_pay_alike_is_not_in_the_bars():
    html = movable.compared(STEPS, ("lazy", "vmload_before_stgi"), EPYC, movable.terms(), 0.059)
    assert "WRGSBASE" in html
    assert "RDMSR" not in html
    assert "LTR" not in html


@pytest.mark.parametrize(
    "intervals, terms, answer",
    [
        ({"VMLOAD": (260, 280)}, {}, "lazy is cheaper below 0.8"),
        ({"WRGSBASE": (100, 150)}, {}, "lazy is cheaper at no share"),
        ({}, {"cold": True}, "probability of 100%"),
        ({}, {"ltr": False, "drain": False}, "lazy is cheaper below 0.37"),
    ],
)
def test_an_assumption_that_is_moved_moves_the_answer(intervals, terms, answer):
    chosen = movable.moved(EPYC, intervals)
    html = movable.compared(STEPS, ("lazy", "vmload_before_stgi"), chosen, movable.terms(**terms), 0.06)
    assert answer in html


def test_a_slider_that_was_not_moved_leaves_the_list_as_it_is():
    whole = {event: movable._whole(EPYC, event) for event in movable.SLIDERS}
    assert movable.moved(EPYC, whole).name == "epyc-2020"


def controls(box):
    found = {}
    for row in box.children[:-1]:
        found |= {one.description: one for one in row.children}
    return found, box.children[-1]


def test_every_control_has_a_label_and_draws_anew():
    found, picture = controls(movable.assumptions(STEPS))
    assert {"price list", "path A", "path B", "share f", "VMLOAD (ticks)", "LTR on each exit"} <= set(found)
    seen = [picture.value]
    found["VMLOAD (ticks)"].value = (250, 300)
    seen.append(picture.value)
    found["path B"].value = "since_2023"
    seen.append(picture.value)
    found["price list"].value = "zen5"
    seen.append(picture.value)
    found["pages may be cold"].value = True
    seen.append(picture.value)
    found["share f"].value = 0.5
    seen.append(picture.value)
    assert len(set(seen)) == len(seen)


def test_another_price_list_brings_its_own_intervals():
    found, _ = controls(movable.assumptions(STEPS))
    found["price list"].value = "epyc-2020-timed"
    assert found["VMLOAD (ticks)"].value == (264, 274)


@pytest.mark.parametrize(
    "drawn",
    [
        lambda: pictures.samples_picture(STEPS),
        lambda: pictures.picture(decide.decide(draws=200), "What <it> rests on."),
        lambda: compare_bars({"lazy": {"save": (1, 2, 3)}}),
    ],
)
def test_a_picture_has_the_colours_of_the_page_around_it(drawn):
    html = drawn()
    assert 'fill="currentColor"' in html
    assert "#fff" not in re.sub(r"var\(--[a-z0-9-]+,#fff\)", "", html.replace("#FFFFFF", "")).lower()
    assert "stroke: #000000" not in html
    assert "<it>" not in html


def test_the_legend_of_bars_takes_as_many_lines_as_it_needs():
    names = [f"a part with a long name {n}" for n in range(6)]
    html = compare_bars({"one": dict.fromkeys(names, (1, 2, 3))})
    placed = [(int(x), int(y)) for x, y in re.findall(r'<text x="(\d+)" y="(\d+)">a part', html)]
    assert len({y for _, y in placed}) == 3
    width, height = map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', html).groups())
    assert all(x + 8 * len(names[0]) < width and y < height for x, y in placed)
