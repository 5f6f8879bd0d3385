"""A processor as code sees it, the events it takes, and CLI, STI and the NMI's delivery."""

from collections import deque

import pytest

from machines import FSGSBASE, PAE, TSS, cpu, processor
from svmlib.faults import Fault, Runaway, Shutdown
from svmlib.instructions import Cpu
from svmlib.instructions.system import deliver_nmi
from svmlib.memory import DIRECT_MAP

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


# -- NMI

STACK = 0x40000


def interrupted(**registers):
    """Return a processor whose TSS names a stack for each IST entry."""
    p = processor(**{"TR.selector": 0x40, "TR.attrib": 0x8B, "TR.limit": 0x67, "TR.base": DIRECT_MAP + TSS,
                     "RIP": 0x1111, "CS.selector": 0x10, "RFLAGS": 0x202, "RSP": 0x3333, "SS.selector": 0x18,
                     **registers})  # fmt: skip
    for ist in range(1, 8):
        p.memory.write(TSS + 0x24 + 8 * (ist - 1), DIRECT_MAP + STACK + 0x1000 * ist)
    return p


@pytest.mark.parametrize("ist", range(1, 8))
def test_an_nmi_takes_its_stack_from_the_tss_that_tr_names_and_pushes_five_words(ist):
    p = interrupted()
    top = DIRECT_MAP + STACK + 0x1000 * ist
    assert deliver_nmi(p, ist) == top
    assert p.regs == p.trace.start[0] | {"RSP": top - 40}
    at = top - 40 - DIRECT_MAP
    assert [p.memory.read(at + 8 * n) for n in range(5)] == [0x1111, 0x10, 0x202, 0x3333, 0x18]


def test_the_stack_of_an_event_is_aligned_to_16_bytes():
    p = interrupted()
    p.memory.write(TSS + 0x24, DIRECT_MAP + STACK + 0xFF8)
    deliver_nmi(p, 1)
    assert p.regs["RSP"] == DIRECT_MAP + STACK + 0xFF0 - 40


def test_another_tr_is_another_stack():
    p = interrupted(**{"TR.base": DIRECT_MAP + 0x60000})
    p.memory.write(0x60000 + 0x24 + 8, DIRECT_MAP + 0x71000)
    assert deliver_nmi(p, 2) == DIRECT_MAP + 0x71000


@pytest.mark.parametrize("registers,vector", [
    ({"TR.limit": 0x32}, "#TS"),
    ({"TR.limit": 0}, "#TS"),
    ({"TR.base": 0x5E9_0000}, "#PF"),
    ({"TR.base": 1 << 63}, "#GP"),
])  # fmt: skip
def test_a_tss_that_cannot_be_read_is_a_fault_and_moves_nothing(registers, vector):
    p = interrupted(**registers)
    with pytest.raises(Fault) as fault:
        deliver_nmi(p, 2)
    assert fault.value.vector == vector
    assert p.regs == p.trace.start[0]


def test_a_tss_of_exactly_the_length_will_do():
    deliver_nmi(interrupted(**{"TR.limit": 0x33}), 2)


def test_a_stack_that_is_not_mapped_is_a_page_fault():
    p = interrupted()
    p.memory.write(TSS + 0x2C, 0x5000)
    with pytest.raises(Fault) as fault:
        deliver_nmi(p, 2)
    assert fault.value.vector == "#PF"


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
