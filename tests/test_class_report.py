"""The report: likeness is of what learners wrote, beside the class's base rate, and moves no mark."""

import json
import re

import pytest

import classes
from autograder import notebooks
from autograder.__main__ import main
from autograder.classes import analysis, charts, marks, outcomes, roster, similarity
from browser import Visit, chromium
from classes import EXERCISE, FULL, SCRIPTS, arrived, graded
from conftest import require

pytestmark = [
    pytest.mark.filterwarnings("default"),  # nbgrader's and sqlalchemy's own
    pytest.mark.xdist_group("tiny_class"),
]
RIGHT = ["    return b, a", "    first = a\n    a = b\n    return a, first", "    return (b, a)"]
ODD = """\
    kept = [a, b][::-1]  # my own idea
    spare = tuple(kept) or (None,)
    return spare[0], spare[-1]"""


def notebook(answer, why="One value is not two."):
    """What a learner hands in whose swap has `answer` for a body."""
    tree = json.loads(notebooks.exercise(SCRIPTS[0]))
    for cell in tree["cells"]:
        if cell["id"] == "swap":
            cell["source"] = f'def swap(a, b):\n    """Both, exchanged."""\n{answer}\n'
        if cell["id"] == "why":
            cell["source"] = why
    return json.dumps(tree).encode()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Forty students: most write one of three right answers, two share an odd one, one has it renamed."""
    folder = classes.copy(tmp_path_factory, tmp_path_factory.mktemp("report") / "class")
    students = [roster.Student(f"s{number:02}", "Given", f"Name{number}") for number in range(40)]
    roster.write(folder, students)
    renamed = ODD.replace("kept", "pair").replace("spare", "out").replace("  # my own idea", "")
    for number, one in enumerate(students[:38]):
        answer = {7: ODD, 19: ODD, 23: renamed}.get(number, RIGHT[number % 3])
        attempt = arrived(folder, one.student, "2026-12-01 12:00", data=notebook(answer, f"{number} is why."))
        if number < 3:
            graded(folder, attempt, **(FULL | {"test_swap": number}))
        reason = "1, 2 came back as 2, 1" if number < 2 else ""
        outcomes.append(
            folder,
            [
                outcomes.Outcome(
                    one.student,
                    EXERCISE,
                    attempt.digest,
                    "failed" if number == 5 else "graded",
                    "an empty file" if number == 5 else "",
                    reasons={"test_swap": reason},
                    seconds=number / 10,
                    bills={"in-kernel exit": (1400.0 + 10 * number, 1477.0)},
                )
            ],
        )
    return folder


@pytest.fixture(scope="module")
def page(whole):
    return analysis.report(whole)


def test_a_shared_odd_answer_is_flagged_renamed_too_and_shared_right_ones_are_not(whole):
    names = {f"s{number:02}": f"s{number:02}" for number in range(40)}
    likeness = analysis._likeness(whole, EXERCISE, names)
    flagged = {frozenset((pair.first, pair.second)) for pair in likeness.pairs if pair.flagged}
    assert flagged == {frozenset(two) for two in (("s07", "s19"), ("s07", "s23"), ("s19", "s23"))}
    first = likeness.pairs[0]
    assert all(count == 3 for _, count in first.shared)


def test_lines_of_release_and_reference_are_nobodys():
    known = similarity.lines_of(["def swap(a, b):\n    return b, a"])
    own = similarity.own(notebook(RIGHT[0]), {"swap": ""}, known)
    assert "return b , a" not in own.lines
    assert list(similarity.own(notebook(RIGHT[1]), {"swap": ""}, known).lines) == [
        "_ = a",
        "a = b",
        "return a , _",
    ]


def test_two_who_wrote_nothing_are_not_alike():
    empty = similarity.Own({})
    found = similarity.compare({"a": empty, "b": empty})
    assert found.pairs == []


def test_a_broken_notebook_has_nothing_of_its_own():
    for data in (b"", b"[]", b'{"cells": 3}', b'{"cells": [7]}', b"[" * 9999, b"\xff"):
        assert similarity.own(data, {"swap": ""}, frozenset()).lines == {}


def test_two_thousand_submissions_are_compared_without_comparing_each_with_each():
    lines = {
        f"s{n}": similarity.Own({f"line {n % 700}": f"line {n % 700}", "all": "all"}) for n in range(2000)
    }
    found = similarity.compare(lines)
    assert found.compared == similarity.SAMPLE
    assert len(found.pairs) == similarity.MOST


def test_the_report_moves_no_mark(whole):
    before = marks.rows(whole), (whole / "gradebook.db").read_bytes()
    analysis.report(whole)
    assert (marks.rows(whole), (whole / "gradebook.db").read_bytes()) == before


def test_students_have_pseudonyms_unless_names_are_asked_for(whole, page):
    assert not re.search(r"\bs\d\d\b|Name\d", page)
    assert re.search(r"S-[A-Z2-7]{4}", page)
    named = analysis.report(whole, names=True)
    assert "Given Name7 and Given Name19" in named


def test_the_page_tells_spread_costs_mistakes_and_failures(page):
    text = re.sub(r"<[^>]+>|\s+", " ", page)
    assert "1 failed, 34 ungraded, 2 missing" in text
    assert "reference 1,477" in text
    assert "8 of 38 are cheaper" in re.sub(r" +", " ", text)
    assert "… , … came back as … , …" in text.replace("…, …", "… , …")
    assert "an empty file" in text


def test_an_exercise_that_nobody_has_begun_is_a_line_and_no_picture(tmp_path_factory, tmp_path):
    folder = classes.copy(tmp_path_factory, tmp_path / "class")
    roster.write(folder, [roster.Student("ada", "Ada", "L")])
    section = analysis.report(folder).partition("<section")[2]
    assert "1 missing." in section
    assert not re.search("<svg|What goes wrong most|Alike", section)


def test_the_page_needs_nothing_from_anywhere(page):
    assert "default-src 'none'" in page
    assert not re.search(r"(src|href)=\"(?!#|data:)", page)


def test_every_bar_has_its_number(page):
    picture = str(charts.spread([3, 0, 12], ["a", "b", "c"], "what"))
    assert re.findall(r">(\d+)</text>", picture) == ["3", "0", "12"]
    assert 'role="img" aria-label="what"' in picture


@pytest.mark.browser
@pytest.mark.slow
def test_the_pages_in_a_browser_ask_for_nothing_and_obey_the_keyboard(whole, tmp_path):
    assert main(["report", str(whole), "--file", str(tmp_path / "report.html")]) == 0
    assert main(["marks", str(whole), "--html", str(tmp_path / "marks.html")]) == 0
    with chromium(require("browser")) as browser:
        visit = Visit(browser, "")
        visit.page.goto((tmp_path / "report.html").as_uri())
        visit.screenshot("report")
        visit.page.keyboard.press("Tab")
        visit.page.keyboard.press("Enter")
        assert visit.page.url.endswith(f"#{EXERCISE}")
        folded = visit.page.locator("details", has_text="As a table").first
        folded.locator("summary").focus()
        visit.page.keyboard.press("Enter")
        assert folded.get_attribute("open") is not None
        visit.page.emulate_media(color_scheme="dark")
        visit.screenshot("report-dark")
        visit.page.goto((tmp_path / "marks.html").as_uri())
        visit.page.keyboard.type("s07")
        visit.page.locator("tbody tr").first.wait_for()
        assert visit.page.locator("tbody tr").count() == 1
        visit.page.keyboard.press("Control+a")
        visit.page.keyboard.press("Delete")
        visit.page.get_by_role("button", name="final").focus()
        visit.page.keyboard.press("Enter")
        assert visit.page.locator('th[aria-sort="ascending"]').inner_text() == "final"
        visit.screenshot("marks")
        visit.close()
