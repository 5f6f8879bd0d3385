"""The explorer: what it calls clean, what it finds and how short, and that it can be believed."""

import itertools
import random
import re
import time

import pytest

from machines import altered
from svmlib.explorer import Bounds, explore
from svmlib.kvm import (
    Exit,
    Host,
    PathError,
    cpu_kernelmode_gs_base,
    exits,
    load_gs_index,
    per_cpu,
    reload_tss,
    run,
    svm_vcpu_run,
    this_cpu_read,
)
from svmlib.kvm.exits import ARRIVALS, EXITCODES
from svmlib.kvm.machine import Machine
from svmlib.kvm.snapshot import key, snapshot
from svmlib.paths import PATHS, hybrid, lazy, legacy, upstream_6_1, vmload_before_stgi
from svmlib.registers import MSR

BEFORE = vmload_before_stgi.since_2023
CLEAN = {**PATHS, "since_2023": BEFORE, "upstream_6_1": upstream_6_1}
SMALL = Bounds(exits=2, periods=1, events=1, migrations=0)
ONE = Host(1, vcpus=1)


# -- what is clean


@pytest.mark.parametrize("name", CLEAN)
@pytest.mark.parametrize("fsgsbase", [True, False])
def test_the_designs_on_record_are_clean_with_an_event_anywhere_and_a_migration(name, fsgsbase):
    found = explore(CLEAN[name], Host(2, fsgsbase, null_clears_base=False, vcpus=1), Bounds(1, 2))
    assert found.clean, found
    assert str(found) == f"complete for these bounds: {found.states:,} states, {found.schedules:,} schedules"
    assert found.states > 100
    assert found.schedules > found.states


def test_two_vcpus_that_preempt_each_other_are_clean():
    assert explore(lazy, Host(4), Bounds(exits=2, periods=2, events=0)).clean


def test_the_same_exploration_gives_the_same_answer():
    assert explore(lazy, ONE, SMALL) == explore(lazy, ONE, SMALL)


def test_wider_bounds_see_more():
    seen = [
        explore(BEFORE, ONE, bounds)
        for bounds in (Bounds(1, 1, 0, 0), Bounds(2, 1, 0, 0), Bounds(2, 1, 1, 0))
    ]
    assert [found.clean for found in seen] == [True] * 3
    assert seen[0].schedules < seen[1].schedules < seen[2].schedules
    assert seen[0].states < seen[1].states <= seen[2].states


# -- it agrees with trying everything by hand


def everything(path, host, depth):
    """Run every schedule of up to `depth` exits on its own: the first that breaks, and the states."""
    choices = [Exit(kind, cpu=cpu) for cpu in range(host.cpus) for kind in EXITCODES]
    states, broken = set(), None
    for length in range(1, depth + 1):
        for schedule in itertools.product(choices, repeat=length):
            machine = Machine(path, host)
            if machine.run(list(schedule)):
                states.add(key(snapshot(machine)))
            else:
                broken = broken or schedule
        if broken:
            break
    return broken, states


def test_the_states_are_those_of_all_schedules_run_one_by_one():
    host = Host(1, cpus=1, vcpus=1)
    broken, states = everything(lazy, host, 4)
    assert broken is None
    found = explore(lazy, host, Bounds(exits=4, periods=4, events=0, migrations=0))
    assert found.clean
    assert found.states >= len(states)  # these bounds allow longer schedules, too
    assert len(states) > 20


def never_put(cpu, vcpu):
    lazy.prepare_host_switch(cpu, vcpu)
    vcpu.guest_state_loaded = True


def test_a_counterexample_is_as_short_as_any():
    path = altered(lazy, prepare_host_switch=never_put)
    broken, _ = everything(path, ONE, 2)
    found = explore(path, ONE, Bounds(exits=3, periods=3, events=0, migrations=3))
    assert len(found.exits) == len(broken) == 2


@pytest.mark.parametrize("name", ["lazy", "legacy"])
def test_an_event_at_every_single_step_run_from_the_boot_says_the_same(name):
    for host in (ONE, ONE._replace(fsgsbase=False)):
        for word in EXITCODES:
            for event in ARRIVALS:
                for at in range(1, 110, 7):
                    exit_ = Exit(word, arrivals=((event, at),))
                    assert run(PATHS[name], [exit_], host).violation is None, exit_


# -- what it finds


def without_tr(cpu, vcpu):
    base = cpu_kernelmode_gs_base(cpu, vcpu.cpu)
    svm_vcpu_run(cpu, vcpu)
    cpu.wrmsr(MSR.GS_BASE, base)


def without_gs(cpu, vcpu):
    page = per_cpu(cpu, vcpu.cpu, "save_area_pa")
    svm_vcpu_run(cpu, vcpu)
    reload_tss(cpu, vcpu)
    vcpu.page = page


def test_a_guest_s_tr_kills_by_the_nmi_at_stgi_and_by_nothing_without_an_event():
    path = altered(lazy, vcpu_enter_exit=without_tr)
    assert explore(path, ONE, SMALL._replace(events=0)).clean
    found = explore(path, ONE, SMALL)
    assert not found.clean
    assert found.run.violation.invariant == "host_stack"
    ((event, at),) = found.exits[0].arrivals
    assert event == "NMI"
    trace = found.run.trace
    assert trace[at - 1].event == "STGI"
    story = str(found.story)
    assert story.startswith("Triple fault. An NMI arrived at STGI and found no stack")
    assert f"The NMI arrives at step {at}, after STGI, while TR.base still holds the guest's" in story
    assert "The path's line that ran last: cpu.wrmsr(MSR.GS_BASE, base)   (without_tr, line" in story


def test_the_shortest_schedule_comes_first_and_one_without_an_event_before_one_with():
    path = altered(lazy, vcpu_enter_exit=without_gs)
    found = explore(path, ONE, SMALL)
    assert [str(exit_) for exit_ in found.exits] == ["kernel"]
    assert found.run.violation.invariant == "per_cpu"


def test_what_it_found_can_be_run_again_from_its_words():
    found = explore(altered(lazy, vcpu_enter_exit=without_tr), ONE, SMALL)
    again = run(altered(lazy, vcpu_enter_exit=without_tr), exits(*map(str, found.exits)), found.host)
    assert again.violation == found.run.violation
    assert again.trace.steps == found.run.trace.steps


def test_a_flag_that_is_not_reset_is_found_by_a_migration_alone():
    path = altered(BEFORE, prepare_host_switch=never_put_before)
    assert explore(path, ONE, Bounds(2, 1)).clean
    found = explore(path, ONE, Bounds(2, 2, events=0, migrations=1))
    assert not found.clean
    assert len(found.exits) == 2


def never_put_before(cpu, vcpu):
    BEFORE.prepare_host_switch(cpu, vcpu)
    vcpu.guest_state_loaded = True


def test_interrupts_on_between_the_two_swapgs_of_load_gs_index_are_found():
    def put(cpu, vcpu):
        cpu.lldt(vcpu.host_ldt)
        cpu.mov_to_sreg("FS", vcpu.host_fs)
        cpu.swapgs()
        cpu.mov_to_sreg("GS", vcpu.host_gs)
        cpu.swapgs()
        for msr, value in zip(legacy.HOST_SAVE_USER_MSRS, vcpu.host_user_msrs, strict=True):
            cpu.wrmsr(msr, value)

    assert run(altered(legacy, prepare_host_switch=put), exits("user", "user@1")).violation is None
    found = explore(altered(legacy, prepare_host_switch=put), ONE, SMALL)
    (last,) = found.exits
    assert last.arrivals[0][0] == "INTR"
    assert found.run.trace[last.arrivals[0][1] - 1].event == "SWAPGS"


def test_without_the_wrmsr_before_load_gs_index_an_nmi_meets_the_guest_s_base_by_its_sign():
    """KVM's first write of KERNEL_GS_BASE is overwritten twice, and yet not for nothing."""

    def put(cpu, vcpu):
        cpu.lldt(vcpu.host_ldt)
        cpu.mov_to_sreg("FS", vcpu.host_fs)
        load_gs_index(cpu, vcpu.host_gs)
        for msr, value in zip(legacy.HOST_SAVE_USER_MSRS, vcpu.host_user_msrs, strict=True):
            cpu.wrmsr(msr, value)

    path = altered(legacy, prepare_host_switch=put)
    outcomes = {}
    for fsgsbase in (True, False):
        hosts = [Host(seed, fsgsbase, vcpus=1) for seed in range(4)]
        outcomes[fsgsbase] = [explore(path, host, SMALL) for host in hosts]
    assert all(found.clean for found in outcomes[True])
    found = next(found for found in outcomes[False] if not found.clean)
    assert found.exits[-1].arrivals[0][0] in ("NMI", "#MC")
    assert found.run.violation.owner == "the guest's KernelGSBase"
    assert "while GS.base holds the guest's KernelGSBase" in str(found.story)


def test_two_events_are_tried_one_inside_the_other_s_handler():
    found = explore(BEFORE, Host(1, cpus=1, vcpus=1), Bounds(1, 1, events=2, migrations=0))
    assert found.clean
    fewer = explore(BEFORE, Host(1, cpus=1, vcpus=1), Bounds(1, 1, events=1, migrations=0))
    assert found.instructions > 3 * fewer.instructions


# -- that it can be believed


def test_a_global_that_carries_state_from_one_call_to_another_is_reported():
    kept = {}

    def prepare(cpu, vcpu):
        cpu.vmsave(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
        kept["aux"] = cpu.rdmsr(MSR.TSC_AUX)

    def once(cpu, vcpu):
        if not vcpu.guest_state_loaded:
            prepare(cpu, vcpu)
            vcpu.guest_state_loaded = True

    def put(cpu, vcpu):
        cpu.wrmsr(MSR.TSC_AUX, kept["aux"])
        vcpu.guest_state_loaded = False

    path = altered(BEFORE, prepare_switch_to_guest=once, prepare_host_switch=put)
    found = explore(path, ONE, Bounds(2, 2))
    assert "is not a function of what it was given" in found.impure or found.run.violation
    assert not found.clean


def test_a_path_that_counts_its_calls_is_reported():
    count = itertools.count()

    def enter(cpu, vcpu):
        BEFORE.vcpu_enter_exit(cpu, vcpu)
        if next(count) % 2:
            cpu.str()

    found = explore(altered(BEFORE, vcpu_enter_exit=enter), ONE, SMALL)
    assert "not a function of what it was given" in found.impure
    assert not found.clean
    assert str(found) == found.impure


@pytest.mark.parametrize("source", [random.random, time.perf_counter])
def test_chance_and_time_are_reported(source):
    def enter(cpu, vcpu):
        BEFORE.vcpu_enter_exit(cpu, vcpu)
        vcpu.noise = str(source())

    assert "not a function" in explore(altered(BEFORE, vcpu_enter_exit=enter), ONE, SMALL).impure


def test_what_lies_on_a_stack_counts_once_the_path_reads_it():
    def put(cpu, vcpu):
        BEFORE.prepare_host_switch(cpu, vcpu)
        stack = cpu_kernelmode_gs_base(cpu, vcpu.cpu) + 0x8FF8
        vcpu.seen = cpu.load(stack) != 0

    plain = explore(BEFORE, Host(1, cpus=1, vcpus=1), Bounds(1, 2))
    found = explore(altered(BEFORE, prepare_host_switch=put), Host(1, cpus=1, vcpus=1), Bounds(1, 2))
    assert found.clean
    assert found.states > plain.states


def test_a_path_whose_course_an_event_changes_is_followed_on_both():
    def put(cpu, vcpu):
        """Take the guest's base from the NMI's frame: right only if an NMI left one there."""
        BEFORE.prepare_host_switch(cpu, vcpu)
        if cpu.load(cpu_kernelmode_gs_base(cpu, vcpu.cpu) + 0x8FF8):
            cpu.wrmsr(MSR.FS_BASE, 0)

    path = altered(BEFORE, prepare_host_switch=put)
    assert run(path, exits("user", "user")).violation is None
    found = explore(path, Host(1, cpus=1, vcpus=1), Bounds(1, 2))
    assert found.run.violation.register == "FS.base"
    assert any(exit_.arrivals for exit_ in found.exits)


def test_forks_leave_no_trace():
    machine = Machine(hybrid, ONE)
    assert machine.run(exits("kernel", "user"))
    found = explore(hybrid, ONE, SMALL)
    assert found.clean
    again = explore(hybrid, ONE, SMALL._replace(events=0))
    assert again.states < found.states


# -- its edges


def test_an_exploration_that_may_not_go_on_says_that_it_is_not_complete():
    found = explore(lazy, Host(1), Bounds(3, 3), limit=2000)
    assert not found.complete
    assert not found.clean
    assert re.match(r"not complete: stopped after 2,\d{3} instructions, \d+ states", str(found))


def test_progress_is_told():
    told = []
    explore(lazy, ONE, SMALL, progress=lambda *numbers: told.append(numbers))
    assert told[0][0] == told[0][2] == 1
    assert [tried for tried, _, _ in told] == list(range(1, len(told) + 1))


def test_what_is_no_path_is_said_as_ever():
    with pytest.raises(PathError, match="has no function"):
        explore(altered(lazy, vcpu_enter_exit=None), ONE)


def test_an_exception_of_the_path_s_own_comes_out():
    def enter(cpu, vcpu):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        explore(altered(lazy, vcpu_enter_exit=enter), ONE)


def test_a_path_that_reads_its_page_s_address_too_late_is_told_with_its_line():
    def enter(cpu, vcpu):
        svm_vcpu_run(cpu, vcpu)
        cpu.vmload(this_cpu_read(cpu, "save_area_pa"))

    found = explore(altered(BEFORE, vcpu_enter_exit=enter), ONE)
    assert found.story.line.text == 'cpu.vmload(this_cpu_read(cpu, "save_area_pa"))'
    assert found.story.line.function == "enter"


def test_functions_that_are_known_to_be_pure_are_tried_once_and_lead_to_the_same_states():
    def own(function):
        def called(cpu, vcpu):
            calls.append(1)
            function(cpu, vcpu)

        return called

    names = ("prepare_switch_to_guest", "vcpu_enter_exit", "prepare_host_switch")
    calls, counts, found = [], [], []
    for is_pure in (False, True):
        functions = {name: own(getattr(BEFORE, name)) for name in names}
        for function in functions.values():
            function.is_pure = is_pure
        calls.clear()
        found.append(explore(altered(BEFORE, **functions), ONE, SMALL))
        counts.append(len(calls))
    assert all(one.clean for one in found)
    assert found[0][3:5] == found[1][3:5]
    assert counts[1] < counts[0]
