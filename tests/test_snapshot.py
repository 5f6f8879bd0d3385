"""Snapshots: a machine brought back goes on as the one that went on, and equal states have equal keys."""

import gc
import weakref
from types import SimpleNamespace

import pytest

from svmlib.kvm import Host, exits, random_exits
from svmlib.kvm.boot import boot
from svmlib.kvm.machine import FUNCTIONS, Machine
from svmlib.kvm.percpu import NMI_STACK_TOP, STRIDE, area, is_stack
from svmlib.kvm.snapshot import key, restore, snapshot
from svmlib.memory import DIRECT_MAP
from svmlib.paths import PATHS


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("seed", range(3))
def test_a_machine_that_was_brought_back_goes_on_as_the_first_time(name, seed):
    host = Host(seed, fsgsbase=seed % 2 == 0)
    machine = Machine(PATHS[name], host)
    assert machine.run(random_exits(seed, 8, host))
    kept = snapshot(machine)
    machine.trace.steps = []
    assert machine.run(random_exits(seed + 1, 8, host))
    after, steps = snapshot(machine, kept), machine.trace.steps
    restore(machine, kept)
    assert key(snapshot(machine), dead=True) == key(kept, dead=True)
    assert machine.run(random_exits(seed + 1, 8, host))
    assert machine.trace.steps == steps
    assert key(snapshot(machine), dead=True) == key(after, dead=True)


def test_nothing_that_happens_later_reaches_a_snapshot():
    machine = Machine(PATHS["legacy"], Host(3))
    kept = snapshot(machine)
    before = key(kept, dead=True)
    machine.run(exits("kernel+nmi", "user@1", "sched#1"))
    assert key(kept, dead=True) == before
    assert key(snapshot(machine), dead=True) != before


@pytest.mark.parametrize("name", ["linux", "i386", "xen", "freebsd", "netbsd", "fred"])
def test_a_host_boots_the_same_whatever_ran_on_it_before(name):
    host = Host(5, kernel=name)
    path = SimpleNamespace(**dict.fromkeys(FUNCTIONS, lambda cpu, vcpu: None))
    first = Machine(path, host)
    booted = key(snapshot(first), dead=True)
    for p in first.processors:
        p.regs.update(dict.fromkeys(p.regs, 1))
    for page in first.memory.pages.values():
        page[:] = bytes([0xA5]) * len(page)
    for thread in first.threads:
        thread.vcpu.host_ldt = 1
    again = Machine(path, host)
    assert key(snapshot(first), dead=True) != booted == key(snapshot(again), dead=True)
    boot.cache_clear()
    assert key(snapshot(Machine(path, host)), dead=True) == booted


def test_a_machine_whose_run_is_over_goes_without_the_garbage_collector():
    machine = Machine(PATHS["lazy"], Host(3))
    machine.run(exits("kernel+nmi", "user@1", "sched#1"))
    seen = weakref.ref(machine)
    gc.disable()
    try:
        machine.disconnect()
        del machine
        assert seen() is None
    finally:
        gc.enable()


def test_a_page_that_nobody_wrote_is_kept_once():
    machine = Machine(PATHS["lazy"], Host(3))
    machine.run(exits("kernel"))
    first = snapshot(machine)
    machine.run(exits("kernel"))
    second = snapshot(machine, first)
    written = [pa for pa in second.pages if second.pages[pa] is not first.pages.get(pa)]
    assert 0 < len(written) < len(second.pages) / 2
    assert all(second.pages[pa] != first.pages.get(pa) for pa in written)


def test_what_an_nmi_leaves_on_its_stack_makes_no_other_state_unless_asked():
    kept = []
    for word in ("kernel", "kernel+nmi"):
        machine = Machine(PATHS["lazy"], Host(3))
        machine.run(exits(word))
        kept.append(snapshot(machine))
    assert key(kept[0]) == key(kept[1])
    assert key(kept[0], dead=True) != key(kept[1], dead=True)


def test_the_stacks_are_those_of_the_areas():
    for n in range(4):
        assert is_stack(area(n, n << 16) - DIRECT_MAP + NMI_STACK_TOP - 8)
        assert is_stack(area(n) - DIRECT_MAP + 0xFF00)
        assert not is_stack(area(n) - DIRECT_MAP + NMI_STACK_TOP)
        assert not is_stack(area(n) - DIRECT_MAP)
    assert STRIDE > 0xFFFF


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_every_exit_leads_from_the_same_state_to_the_same_one(path):
    words = ("kernel", "user", "sched", "kernel@1", "user#1")
    machine = Machine(path, Host(2))
    boot = snapshot(machine)
    reached = {}
    for turn in range(2):
        for word in words:
            restore(machine, boot)
            assert machine.step(exits(word)[0])
            found = key(snapshot(machine, boot))
            assert reached.setdefault(word, found) == found
        assert len(set(reached.values())) == len(words), turn
