"""Every bug on record: the broken variant is found by the rule that it breaks, the fixed one is clean."""

import json
from pathlib import Path

import pytest

from svmlib import __main__ as command_line
from svmlib import bugs
from svmlib.bugs import BUGS, Case, outcome
from svmlib.kvm import INVARIANTS

SCENARIOS = [bug for bug in BUGS.values() if bug.by != "left out"]
BY_EXPLORER = [bug for bug in SCENARIOS if bug.by == "explorer"]


def test_every_bug_has_a_scenario_but_three_and_they_say_why():
    left_out = {bug.bug for bug in BUGS.values() if bug.by == "left out"}
    assert left_out == {"B07", "B11", "B13"}
    assert all(BUGS[name].symptom for name in left_out)
    numbers = [*range(1, 29), *range(31, 42)]
    assert list(BUGS) == [f"B{n:02}" for n in numbers]
    files = {file.stem.upper() for file in Path(bugs.__file__).parent.glob("b[0-9]*.py")}
    assert files == {bug.bug for bug in SCENARIOS}


@pytest.mark.parametrize("bug", BY_EXPLORER, ids=lambda bug: bug.bug)
def test_the_explorer_finds_the_broken_variant_by_the_rule_it_breaks(bug):
    found = outcome(bug.module.BROKEN)
    assert found.story is not None, found
    assert bug.rule in ("", found.story.invariant)
    assert bug.rule or found.story.invariant in INVARIANTS
    assert found.story.line is None or found.story.line.text


@pytest.mark.parametrize("bug", BY_EXPLORER, ids=lambda bug: bug.bug)
def test_the_fixed_variant_is_clean_within_the_same_bounds(bug):
    broken, fixed = bug.module.BROKEN, bug.module.FIXED
    assert fixed.bounds == broken.bounds
    found = outcome(fixed)
    assert found.clean, found


@pytest.mark.parametrize("bug", [bug for bug in SCENARIOS if bug.by == "model"], ids=lambda bug: bug.bug)
def test_the_model_tells_the_others_apart(bug):
    assert outcome(bug.module.BROKEN)
    assert outcome(bug.module.FIXED) == ""


@pytest.mark.parametrize("bug", SCENARIOS, ids=lambda bug: bug.bug)
def test_broken_and_fixed_differ_in_path_or_host_alone(bug):
    broken, fixed = bug.module.BROKEN, bug.module.FIXED
    assert isinstance(broken, Case) == isinstance(fixed, Case)
    assert broken != fixed


def test_reload_tss_is_redundant_behind_vmload():
    assert outcome(BUGS["B08"].module.REDUNDANT).clean


def test_b32_survives_on_an_older_cpu():
    assert outcome(BUGS["B32"].module.LUCKY).clean


def test_the_list_has_year_commit_and_symptom_of_each(capsys):
    assert command_line.main(["bugs"]) == 0
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert max(map(len, lines)) <= 105
    for bug in BUGS.values():
        assert f"{bug.bug}  {bug.year}  {bug.commit}" in said
        assert bug.title in said
    assert said.count("left out: ") == 3


def test_one_bug_is_run_and_told(capsys):
    assert command_line.main(["bugs", "b37", "B07", "B22"]) == 0
    said = capsys.readouterr().out
    assert "broken: An interrupt arrived at STGI, inside the run path" in said
    assert "fixed: complete for these bounds" in said
    assert "left out: Nothing happens on the machine" in said
    assert "broken: An NMI arrives in the nested hypervisor" in said


def test_json_and_a_wrong_name(capsys):
    assert command_line.main(["bugs", "--json"]) == 0
    assert [row["bug"] for row in json.loads(capsys.readouterr().out)] == list(BUGS)
    assert command_line.main(["bugs", "B37", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["as_stated"] is True
    assert command_line.main(["bugs", "B99"]) == 2
    assert capsys.readouterr().err.startswith("no bug B99; there are B01,")
