"""python -m svmlib compare: one screen that says what is correct, what an exit costs, and who is cheaper."""

import builtins
import json
from types import SimpleNamespace

import pytest

from svmlib import __main__ as command_line
from svmlib.compare import SINCE_2023, as_json, compare
from svmlib.costs import PriceList, prices
from svmlib.paths import PATHS, lazy, vmload_before_stgi


@pytest.fixture(scope="module")
def comparison():
    return compare()


def test_all_paths_are_correct(comparison):
    assert comparison.correct
    assert list(comparison.paths) == [*PATHS, SINCE_2023]


def test_it_fits_one_screen(comparison):
    lines = str(comparison).splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 100


def test_every_table_is_aligned(comparison):
    lines = str(comparison).splitlines()
    for rule in (line for line in lines if line.startswith("---")):
        gaps = [i for i, mark in enumerate(rule) if mark == " "]
        start = lines.index(rule) + 1
        for line in lines[start : start + 5]:
            assert all(line[i] == " " for i in gaps if i < len(line)), line


def test_it_states_its_unit_its_price_list_and_the_published_figures(comparison):
    text = str(comparison)
    for words in ("TSC ticks", "epyc-2020", "−24 (−37 to −11)", "64 (51–77)", "below 0.375 (0.17–0.62)"):
        assert words in text


def test_an_exit_handled_in_the_kernel_restores_nothing(comparison):
    for name, result in comparison.paths.items():
        parts = result.bills["kernel"].by_part()
        assert parts["restore"].instructions == 0, name
        assert parts["save"].instructions <= 1, f"{name}: at most a look at the flag"


def test_vmsave_and_vmload_are_cheaper_than_legacy_on_the_way_to_user_space(comparison):
    user = {name: result.bills["user"].nominal for name, result in comparison.paths.items()}
    assert user["legacy"] > 2 * user["vmload_before_stgi"]
    assert user["hybrid"] > user["vmload_before_stgi"]


def test_lazy_wins_at_few_exits_to_user_space_in_2020_and_not_since_2023(comparison):
    _, with_ltr, without = comparison.answers
    assert (with_ltr.outcome.wins, without.outcome.wins) == ("below", "never")
    assert without.outcome.high < 1


def test_writing_gs_base_by_wrmsr_on_every_exit_is_dearer_than_vmload(comparison):
    hybrid = comparison.answers[0].outcome
    assert hybrid.every_exit.nominal > 0
    assert hybrid.wins == "never"


def test_json_holds_every_part_with_its_interval(comparison):
    found = json.loads(json.dumps(as_json(comparison)))
    assert found["unit"] == "TSC ticks"
    assert set(found["paths"]) == {*PATHS, SINCE_2023}
    for one in found["paths"].values():
        assert one["correct"] is True
        for exit_ in one["exits"].values():
            parts = [exit_[part] for part in ("save", "enter/exit", "restore")]
            assert sum(part["instructions"] for part in parts) == exit_["total"]["instructions"]
            assert set(exit_["total"]["ticks"]) == {"low", "nominal", "high"}
    outcome = found["cheaper"][1]["outcome"]
    assert outcome["wins"] == "below"
    assert outcome["every_exit"]["nominal"] == pytest.approx(-25)


def test_a_wrong_path_shows_its_first_violation_and_no_bill():
    forgets = SimpleNamespace(
        prepare_switch_to_guest=lazy.prepare_switch_to_guest,
        vcpu_enter_exit=lazy.vcpu_enter_exit,
        prepare_host_switch=lambda cpu, vcpu: setattr(vcpu, "guest_state_loaded", False),
    )
    found = compare({"forgets": forgets, "vmload_before_stgi": vmload_before_stgi})
    assert not found.correct
    assert not found.answers
    assert f"forgets: {found.paths['forgets'].violation}" in str(found)
    assert as_json(found)["paths"]["forgets"]["exits"] == {}


def test_another_price_list_changes_ticks_and_no_instruction(comparison):
    epyc = prices("epyc-2020")
    dear = PriceList("dear LTR", {**epyc, "LTR": epyc["LTR"]._replace(high=900, nominal=900)})
    found = compare(costs=dear).paths["lazy"].bills["kernel"]
    known = comparison.paths["lazy"].bills["kernel"]
    assert found.instructions == known.instructions
    assert found.nominal == known.nominal + 800


# The command line


def test_the_command_prints_the_screen(capsys, comparison):
    assert command_line.main(["compare"]) == 0
    assert capsys.readouterr().out == f"{comparison}\n"


def test_the_command_prints_json(capsys, comparison):
    assert command_line.main(["compare", "--json", "--prices", "epyc-2020"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(as_json(comparison)))


def test_no_command_prints_help_with_examples(capsys):
    assert command_line.main([]) == 0
    assert "python -m svmlib compare" in capsys.readouterr().out


def test_an_unknown_price_list_is_one_line_that_names_the_known_ones(capsys):
    assert command_line.main(["compare", "--prices", "zen9"]) == 2
    assert capsys.readouterr().err.startswith("no price list 'zen9'; there is k8, family-15h, zen1, ")


def test_without_tabulate_it_says_so_and_what_to_do(capsys, monkeypatch):
    bare = builtins.__import__

    def without_tabulate(name, *rest):
        if name == "tabulate":
            raise ModuleNotFoundError(name)
        return bare(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_tabulate)
    assert command_line.main(["compare"]) == 2
    assert "needs the package tabulate, which is missing; pip install tabulate" in capsys.readouterr().err
    assert command_line.main(["compare", "--json"]) == 0
