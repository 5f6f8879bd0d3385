"""The eighteen steps around VMRUN: the table, and what a run of each design has there."""

import pytest

from svmlib.data import rows
from svmlib.kvm import exits, run
from svmlib.kvm.hosts import host
from svmlib.kvm.order import walk
from svmlib.paths import DESIGNS, upstream

TABLE = rows("call_order")


def places(path, *words, kind="zen3", seed=1):
    result = run(path, exits(*words), host(kind, seed=seed))
    assert result.violation is None
    return walk(result)


@pytest.mark.parametrize("kind", ["zen3", "zen1-fsgsbase", "family15h"])
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row["step"])
def test_kvm_of_2025_does_the_eighteen_steps_and_holds_what_the_table_says(row, kind):
    place = places(upstream.since_2025, "kernel", "user", "user", kind=kind)[int(row["step"]) - 1]
    assert place.step is not None, place.kernel
    found = {"gif": place.gif, "if": place.interrupts, "gs": place.gs, "user": place.user}
    expected = {name: row[name] if name in ("gs", "user") else int(row[name]) for name in found}
    assert found == expected


def test_the_steps_are_in_the_table_s_order():
    found = [place.step for place in places(upstream.since_2025, "user", "user")]
    assert found == sorted(set(found))
    assert len(found) == len(TABLE) == 18


@pytest.mark.parametrize("design,numbers", [
    ("legacy", range(12, 17)), ("hybrid", range(12, 17)), ("lazy", range(12, 17)),
    ("vmload_before_stgi", ()), ("upstream", ()),
])  # fmt: skip
def test_the_user_s_state_stays_the_guest_s_until_vcpu_put_in_the_designs_that_wait(design, numbers):
    """What step 15 means by the letters of the four designs: U is the guest's in (a), (c) and (d)."""
    found = {place.number: place for place in places(DESIGNS[design].path, "user", "user")}
    waiting = {n for n, place in found.items() if n in (14, 15, 16) and place.step and place.user != "host"}
    assert waiting == {n for n in numbers if n in (14, 15, 16)}
    assert {found[n].gs for n in (14, 15, 16)} == {"host"}
    assert found[18].user == "host"


def test_a_step_that_a_path_does_not_do_is_none():
    found = {place.number: place for place in places(DESIGNS["legacy"].path, "user", "user")}
    assert found[2].step is None
    assert found[7].step is None
