"""A processor as code sees it, the events it takes, and CLI, STI and the NMI's delivery."""

from collections import deque

import pytest

from machines import FSGSBASE, PAE, cpu, processor
from svmlib.faults import Fault, Runaway, Shutdown
from svmlib.instructions import Cpu

INSTRUCTIONS = {
    "rdmsr", "wrmsr", "vmload", "vmsave", "vmrun", "clgi", "stgi", "cli", "sti", "swapgs", "rdfsbase",
    "rdgsbase", "wrfsbase", "wrgsbase", "mov_from_sreg", "mov_to_sreg", "sldt", "lldt", "str", "ltr", "load",
    "store", "load_gs", "store_gs", "vmmcall", "invlpga", "skinit", "lgdt", "lidt", "sgdt", "sidt",
    "mov_from_cr", "mov_to_cr", "mov_from_dr", "mov_to_dr", "syscall", "sysret", "iret", "rdtscp", "rdpid",
    "lsl", "xgetbv", "rdpkru", "load_fs", "store_fs", "store_register", "sysenter", "sysexit",
}  # fmt: skip


def test_code_on_a_cpu_sees_its_instructions_and_nothing_else():
    c, _ = cpu()
    assert {name for name in dir(c) if not name.startswith("_")} == INSTRUCTIONS
    assert repr(c) == "CPU 0"


@pytest.mark.parametrize("name", ["regs", "gif", "host_gs_base", "rdmsr"])
def test_nothing_can_be_stored_in_a_cpu(name):
    c, _ = cpu()
    with pytest.raises(AttributeError):
        setattr(c, name, 1)


@pytest.mark.parametrize("name", sorted(INSTRUCTIONS))
def test_an_instruction_says_what_it_does(name):
    assert getattr(Cpu, name).__doc__


def test_cli_and_sti_write_if_alone():
    c, p = cpu(RFLAGS=0x246)
    c.cli()
    assert p.regs == p.trace.start[0] | {"RFLAGS": 0x046}
    c.sti()
    assert p.regs == p.trace.start[0]


@pytest.mark.parametrize("name", ["cli", "sti"])
def test_cli_and_sti_are_for_ring_0(name):
    c, p = cpu(CPL=3)
    with pytest.raises(Fault, match=rf"#GP\(0\): {name.upper()} at CPL 3"):
        getattr(c, name)()
    assert p.regs == p.trace.start[0]


def test_a_fault_is_on_the_trace_and_goes_to_the_kernel_first():
    c, p = cpu(CR4=PAE)
    seen = []
    p.on_fault = lambda p, fault: seen.append(fault) or fault
    with pytest.raises(Fault) as raised:
        c.wrgsbase(0)
    assert seen == [raised.value]
    assert [(step.event, step.operand) for step in p.trace] == [("#UD", seen[0].why)]


def test_a_processor_that_stopped_executes_nothing():
    c, p = cpu()
    stopped = p.stop("a triple fault")
    for issue in (c.cli, c.sldt, lambda: c.rdmsr(0)):
        with pytest.raises(Shutdown) as raised:
            issue()
        assert raised.value is stopped
    assert [step.event for step in p.trace] == ["shutdown"]


def test_a_runaway_is_stopped_at_the_limit_and_told_what_ran():
    c, p = cpu()
    p.trace.phase, p.trace.limit = "vcpu_load", 100
    with pytest.raises(Runaway, match="vcpu_load had executed 20000 instructions and went on"):
        deque(iter(c.cli, "never"))
    assert len(p.trace) == 101


def test_a_processor_prints_the_lines_of_an_oops():
    p = processor(**{"FS.base": 0x7F00, "FS.selector": 0x63, "KernelGSBase": 0x42, "TR.selector": 0x40,
                     "CR4": PAE | FSGSBASE, "RFLAGS": 0x202, "RIP": 0x1234, "CS.selector": 0x10})  # fmt: skip
    text = repr(p)
    assert text.startswith("CPU 0  GIF 1  IF 1  CPL 0  (host)\nRIP: 0010:0000000000001234\n")
    assert "\nRAX: 0000000000000000 RBX: " in text
    assert "\nFS:  0000000000007f00(0063) GS:0000000000000000(0000) knlGS:0000000000000042\n" in text
    assert "EFER: 0000000000001501" in text
    assert "DR0" not in text
    assert all(len(line) <= 80 for line in text.splitlines())
    p.regs["DR1"] = 5
    assert repr(p).endswith("DR3: 0000000000000000 DR6: 0000000000000000 DR7: 0000000000000000")
