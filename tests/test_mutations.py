"""Mutations of the Linux designs: each broken, or in data/mutations.csv with why nobody notices.

All of them are explored here, which takes three minutes of one core.
"""

import json
from collections import Counter

import pytest

from svmlib import __main__ as command_line
from svmlib.mutations import DESIGNS, Mutation, agrees, mutations, outcome, recorded

TABLE = recorded()
ALL = mutations()


def name(mutation):
    return "-".join(map(str, mutation)).replace(" ", "_")


def test_every_instruction_is_left_out_done_twice_and_exchanged():
    counts = Counter((one.design, one.function, one.kind) for one in ALL)
    functions = {(design, function) for design, function, _ in counts}
    for design, function in functions:
        gone, twice = counts[design, function, "left out"], counts[design, function, "twice"]
        assert gone == twice == counts[design, function, "exchanged"] + 1
    assert {design for design, _ in functions} == set(DESIGNS)
    assert len(ALL) > 900


def test_what_is_not_broken_is_listed_with_its_reason():
    assert set(TABLE) <= set(ALL)
    assert all(one.why and one.outcome in ("equivalent", "slower") for one in TABLE.values())
    assert Counter(one.mutation.kind for one in TABLE.values())["left out"] < 30


def test_what_may_be_left_out_without_loss_is_known_by_name():
    gone = {
        one.instruction
        for one in TABLE.values()
        if (one.mutation.kind, one.outcome) == ("left out", "equivalent")
    }
    assert gone == {"load memory", "ltr", "load_gs gs:spec_ctrl", "store_gs gs:user_return_registered"}


@pytest.mark.slow
@pytest.mark.parametrize("mutation", ALL, ids=name)
def test_the_explorer_says_what_the_table_does(mutation):
    found = outcome(mutation)
    assert agrees(found), found


def test_kvm_s_first_write_of_kernel_gs_base_is_not_for_nothing():
    """It is overwritten twice, but without it an NMI between two SWAPGS believes in the guest's base."""
    ours = [one for one in ALL if one.design == "legacy" and one.function == "prepare_host_switch"]
    (found,) = [
        done
        for one in ours
        if one.kind == "left out" and one.place == 6
        if (done := outcome(one)).instruction == "wrmsr KERNEL_GS_BASE"
    ]
    assert found.outcome == "broken"
    assert "+nmi." in found.why


def test_a_dependent_exchange_is_no_other_program():
    found = outcome(Mutation("lazy", "prepare_switch_to_guest", "exchanged", 1))
    assert found.outcome == "no other program"


def test_the_table_is_printed_with_counts_and_reasons(capsys):
    assert command_line.main(["mutations"]) == 0
    said = capsys.readouterr().out
    assert "ltr left out: VMLOAD has brought TR back (B08)" in said
    assert command_line.main(["mutations", "--design", "lazy", "--json"]) == 0
    assert {row["design"] for row in json.loads(capsys.readouterr().out)} == {"lazy"}
