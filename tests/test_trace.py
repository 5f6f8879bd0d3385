"""The trace: every step says what it changed, so that the machine can be walked forwards and backwards."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from machines import PAGE, VMCB, cpu, legal_vmcb
from svmlib.kvm import Host, exits, random_exits, run
from svmlib.kvm.machine import Machine
from svmlib.paths import PATHS, vmload_before_stgi
from svmlib.registers import MSR
from svmlib.trace import Step, Trace

ALL_PATHS = {**PATHS, "since_2023": vmload_before_stgi.since_2023}
SOME_RUN = st.tuples(
    st.sampled_from(sorted(ALL_PATHS)),
    st.integers(0, 1 << 32),
    st.integers(1, 12),
    st.booleans(),
    st.booleans(),
)


def machine_after(chosen):
    name, seed, n, fsgsbase, clears = chosen
    host = Host(seed, fsgsbase=fsgsbase, null_clears_base=clears)
    machine = Machine(ALL_PATHS[name], host)
    assert machine.run(random_exits(seed, n, host))
    return machine


@given(SOME_RUN)
@settings(deadline=None, max_examples=60)
def test_the_state_after_the_last_step_is_what_the_processors_hold(chosen):
    machine = machine_after(chosen)
    last = len(machine.trace) - 1
    for p in machine.processors:
        assert machine.trace.state(last, p.index) == p.regs


@given(SOME_RUN, st.data())
@settings(deadline=None, max_examples=30)
def test_walking_back_by_old_values_meets_what_replaying_forwards_gave(chosen, data):
    machine = machine_after(chosen)
    trace, n = machine.trace, data.draw(st.integers(0, 1))
    state = dict(machine.processors[n].regs)
    stops = set(data.draw(st.lists(st.integers(-1, len(trace) - 1), max_size=5)))
    for k in range(len(trace) - 1, -2, -1):
        if k in stops:
            assert trace.state(k, n) == state
        if k >= 0 and trace[k].cpu == n:
            step = trace[k]
            assert all(state[name] == new for name, new in zip(step.names, step.new, strict=True)), step
            state.update(zip(step.names, step.old, strict=True))
    assert state == trace.start[n]


@given(SOME_RUN)
@settings(deadline=None, max_examples=30)
def test_memory_too_walks_back_to_what_it_held_before_the_first_step(chosen):
    machine = machine_after(chosen)
    fresh = Machine(ALL_PATHS[chosen[0]], machine.host).memory
    for step in reversed(machine.trace.steps):
        for pa, old, new in reversed(step.memory):
            page, at = machine.memory.page(pa & ~0xFFF), pa & 0xFFF
            assert bytes(page[at : at + len(new)]) == new, step
            page[at : at + len(old)] = old
    for pa, page in machine.memory.pages.items():
        assert bytes(page) == bytes(fresh.page(pa)), hex(pa)


@given(SOME_RUN)
@settings(deadline=None, max_examples=20)
def test_the_same_run_leaves_the_same_trace(chosen):
    assert machine_after(chosen).trace.steps == machine_after(chosen).trace.steps


def test_state_minus_1_is_before_the_first_step_and_an_unknown_step_is_named():
    c, p = cpu(STAR=5)
    c.wrmsr(MSR.STAR, 6)
    assert [p.trace.state(k)["STAR"] for k in (-1, 0)] == [5, 6]
    for k in (1, -2):
        with pytest.raises(IndexError, match=f"no step {k}; the trace has 1, and -1 is the state before"):
            p.trace.state(k)


def test_the_changes_of_a_step_leave_out_what_was_written_with_the_same_value():
    c, p = cpu(STAR=5)
    c.wrmsr(MSR.STAR, 5)
    c.wrmsr(MSR.STAR, 7)
    assert [step.changes for step in p.trace] == [[], [("STAR", 5, 7)]]
    assert [step.value for step in p.trace] == [5, 7]


STEPS = [
    (lambda c: c.rdmsr(MSR.LSTAR), "RDMSR LSTAR 0x0"),
    (lambda c: c.wrmsr(MSR.FS_BASE, 0x1000), "WRMSR FS_BASE 0x1000"),
    (lambda c: c.vmsave(PAGE), "VMSAVE 0x20000"),
    (lambda c: c.vmload(PAGE), "VMLOAD 0x20000"),
    (lambda c: c.clgi(), "CLGI"),
    (lambda c: c.stgi(), "STGI"),
    (lambda c: c.cli(), "CLI"),
    (lambda c: c.sti(), "STI"),
    (lambda c: c.swapgs(), "SWAPGS"),
    (lambda c: c.rdfsbase(), "RDFSBASE 0x0"),
    (lambda c: c.rdgsbase(), "RDGSBASE 0x0"),
    (lambda c: c.wrfsbase(8), "WRFSBASE 0x8"),
    (lambda c: c.wrgsbase(8), "WRGSBASE 0x8"),
    (lambda c: c.mov_from_sreg("FS"), "MOV r,Sreg FS 0x0"),
    (lambda c: c.mov_to_sreg("GS", 3), "MOV Sreg,r GS 0x3"),
    (lambda c: c.sldt(), "SLDT 0x0"),
    (lambda c: c.lldt(0), "LLDT 0x0"),
    (lambda c: c.str(), "STR 0x0"),
    (lambda c: c.load(0xFFFF_8880_0000_0000), "MOV r,m 0xffff888000000000 0x0"),
    (lambda c: c.store(0xFFFF_8880_0000_0000, 1), "MOV m,r 0xffff888000000000 0x1"),
]


@pytest.mark.parametrize("issue,line", STEPS)
def test_an_instruction_is_one_step_that_reads_as_assembly(issue, line):
    c, p = cpu()
    issue(c)
    (step,) = p.trace
    assert str(step) == line
    assert (step.cpu, step.side, step.phase, step.times) == (0, "host", "", 1)
    assert len(step.names) == len(step.old) == len(step.new)


def test_vmrun_and_its_exit_are_two_steps():
    c, p = cpu()
    legal_vmcb(p)
    p.guest = lambda p, pa: 0x72
    c.vmrun(VMCB)
    assert [(step.event, step.operand, step.gif, step.side) for step in p.trace] == [
        ("VMRUN", VMCB, 1, "host"),
        ("#VMEXIT", VMCB, 0, "host"),
    ]
    assert p.trace[1].value == 0x72


def test_vmsave_s_step_holds_the_bytes_it_found_and_those_it_left():
    c, p = cpu(STAR=0x1122)
    p.memory.page(PAGE)[:] = b"\xa5" * 4096
    before = bytes(p.memory.page(PAGE))
    c.vmsave(PAGE)
    page = bytearray(before)
    for pa, old, new in p.trace[0].memory:
        assert bytes(page[pa - PAGE : pa - PAGE + len(old)]) == old
        page[pa - PAGE : pa - PAGE + len(new)] = new
    assert page == p.memory.page(PAGE)


def test_owner_tells_the_host_s_value_from_the_guest_s_and_from_neither():
    result = run(PATHS["lazy"], exits("kernel", "user"), Host(3))
    trace = result.trace
    left = next(k for k, step in enumerate(trace) if step.event == "#VMEXIT")
    state = trace.state(left)
    assert trace.owner(left, "GS.base", state["GS.base"]) == "guest"
    assert trace.owner(left, "LSTAR", state["LSTAR"]) == "guest"
    assert trace.owner(left, "RSP", state["RSP"]) == "host"
    assert trace.owner(left, "LSTAR", 0x1234) == "neither"
    last = len(trace) - 1
    assert trace.owner(last, "LSTAR", trace.state(last)["LSTAR"]) == "host"


def test_owner_knows_which_thread_had_the_cpu():
    trace = run(PATHS["lazy"], exits("user", "user#1"), Host(5)).trace
    switches = [k for k, step in enumerate(trace) if step.event == "switch_to"]
    first, second = (trace.state(k) for k in switches)
    differs = next(name for name in ("FS.base", "KernelGSBase") if first[name] != second[name])
    assert trace.owner(switches[0], differs, first[differs]) == "host"
    assert trace.owner(switches[1], differs, second[differs]) == "host"
    assert trace.owner(switches[1], differs, first[differs]) == "neither"


def test_a_trace_is_read_like_a_list():
    c, p = cpu()
    c.cli()
    c.sti()
    assert len(p.trace) == 2
    assert list(p.trace) == [p.trace[0], p.trace[1]] == p.trace[0:2]
    assert p.trace[-1].event == "STI"
    assert isinstance(p.trace[0], Step)
    assert len(Trace()) == 0
