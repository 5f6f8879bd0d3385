"""Delivery through the IDT and back by IRET, in 64- and 32-bit mode; the instructions only kernels use."""

import pytest

from machines import GDT, SVME, TSS, cpu, describe, processor
from svmlib.faults import Fault
from svmlib.instructions import Cpu
from svmlib.instructions.delivery import deliver, gate
from svmlib.instructions.segments import descriptor
from svmlib.memory import C_BIT, DIRECT_MAP, DIRECT_MAP_32, Memory
from svmlib.processor import Processor
from svmlib.trace import Trace

IDT, STACK, HANDLER = 0x50000, 0x40000, 0xFFFF_FFFF_8100_1234


def interrupted(ist=0, **registers):
    """Return a 64-bit processor with a gate at vector 2, and stacks in its TSS."""
    p = processor(**{"TR.selector": 0x40, "TR.attrib": 0x8B, "TR.limit": 0x67, "TR.base": DIRECT_MAP + TSS,
                     "IDTR.base": DIRECT_MAP + IDT, "IDTR.limit": 0xFFF, "RIP": 0x1111, "CS.selector": 0x10,
                     "CS.attrib": 0xA9B, "CS.limit": 0xFFFF_FFFF, "SS.attrib": 0xC93, "SS.limit": 0xFFFF_FFFF,
                     "RFLAGS": 0x202, "RSP": DIRECT_MAP + STACK + 0xFF8, "SS.selector": 0x18,
                     **registers})  # fmt: skip
    for place, word in enumerate(gate(HANDLER, 0x10, ist)):
        p.memory.write(IDT + 2 * 16 + 8 * place, word)
    p.memory.write(TSS + 4, DIRECT_MAP + STACK + 0x8000)
    for n in range(7):
        p.memory.write(TSS + 0x24 + 8 * n, DIRECT_MAP + STACK + 0x1000 * (n + 1))
    for selector, attrib in ((0x10, 0xA9B), (0x18, 0xC93), (0x2B, 0xCF3), (0x33, 0xAFB)):
        describe(p, selector & ~3, attrib, 0xFFFF_FFFF, 0)
    return p


@pytest.mark.parametrize("ist,cpl,top", [
    (0, 0, STACK + 0xFF8), (0, 3, STACK + 0x8000), (2, 0, STACK + 0x2000), (2, 3, STACK + 0x2000),
])  # fmt: skip
def test_the_stack_is_the_gate_s_or_rsp0_or_the_one_in_use(ist, cpl, top):
    p = interrupted(ist, CPL=cpl)
    assert deliver(p, "NMI", 2) == DIRECT_MAP + top
    assert p.regs["RSP"] == (DIRECT_MAP + top & ~0xF) - 40
    assert (p.regs["RIP"], p.regs["CPL"], p.regs["CS.selector"]) == (HANDLER, 0, 0x10)
    assert p.regs["RFLAGS"] & 1 << 9 == 0
    assert p.regs["SS.selector"] == (0 if cpl else 0x18)
    at = p.regs["RSP"] - DIRECT_MAP
    assert [p.memory.read(at + 8 * n) for n in range(3)] == [0x1111, 0x10, 0x202]


def test_an_error_code_is_pushed_last():
    p = interrupted()
    deliver(p, "#PF", 2, 0x1234)
    assert p.memory.read(p.regs["RSP"] - DIRECT_MAP) == 0x1234


@pytest.mark.parametrize("user", [False, True])
def test_iret_undoes_a_delivery(user):
    outer = {"CPL": 3, "CS.selector": 0x33, "CS.attrib": 0xAFB, "SS.selector": 0x2B, "SS.attrib": 0xCF3}
    p = interrupted(2, **outer if user else {})
    before = dict(p.regs)
    deliver(p, "NMI", 2)
    Cpu(p).iret()
    assert p.regs == before


@pytest.mark.parametrize("registers,vector", [
    ({"IDTR.limit": 0x1F}, "#GP"), ({"IDTR.base": 0x5E9_0000}, "#PF"), ({"TR.base": 0x5E9_0000}, "#PF"),
    ({"TR.limit": 0x32}, "#TS"), ({"IDTR.base": DIRECT_MAP + 0x90000}, "#NP"),
])  # fmt: skip
def test_a_delivery_that_cannot_be_done_is_a_fault_and_moves_nothing(registers, vector):
    p = interrupted(2, **registers)
    with pytest.raises(Fault) as fault:
        deliver(p, "NMI", 2)
    assert fault.value.vector == vector
    assert p.regs == p.trace.start[0]


def narrow(**registers):
    """Return a 32-bit processor: no long mode, memory at 0xB0000000."""
    p = Processor(0, Memory(direct_map=DIRECT_MAP_32), Trace())
    p.regs.update({"EFER": SVME, "CR0": 1 << 31 | 1, "CR4": 1 << 5, "RFLAGS": 0x202, "RIP": 0x1111,
                   "CS.selector": 0x60, "CS.attrib": 0xC9B, "CS.limit": 0xFFFF_FFFF, "SS.selector": 0x68,
                   "SS.attrib": 0xC93, "SS.limit": 0xFFFF_FFFF, "RSP": DIRECT_MAP_32 + STACK + 0x800,
                   "GDTR.base": DIRECT_MAP_32 + GDT, "GDTR.limit": 0xFF, "IDTR.base": DIRECT_MAP_32 + IDT,
                   "IDTR.limit": 0x7FF, "TR.base": DIRECT_MAP_32 + TSS, "TR.limit": 0x67,
                   "SYSENTER_CS": 0x60, "SYSENTER_ESP": 0xB100_0000, "SYSENTER_EIP": 0xC000_0000,
                   **registers})  # fmt: skip
    p.trace.start[0] = dict(p.regs)
    p.memory.write(IDT + 2 * 8, gate(0xC000_5678, 0x60)[0])
    p.memory.write(TSS + 4, 0x68 << 32 | DIRECT_MAP_32 + STACK + 0x4000)
    for selector, attrib in ((0x60, 0xC9B), (0x68, 0xC93), (0x70, 0xCFB), (0x78, 0xCF3)):
        describe(p, selector, attrib, 0xFFFF_FFFF, 0)
    return p


def test_outside_long_mode_the_same_ring_has_three_words_and_another_five():
    p = narrow()
    deliver(p, "NMI", 2)
    assert p.regs["RSP"] == DIRECT_MAP_32 + STACK + 0x800 - 12
    assert (p.regs["RIP"], p.regs["CS.attrib"]) == (0xC000_5678, 0xC9B)
    Cpu(p).iret()
    assert p.regs == p.trace.start[0]
    user = {"CPL": 3, "CS.selector": 0x73, "CS.attrib": 0xCFB, "SS.selector": 0x7B, "SS.attrib": 0xCF3}
    p = narrow(**user)
    deliver(p, "NMI", 2)
    assert p.regs["RSP"] == DIRECT_MAP_32 + STACK + 0x4000 - 20
    assert p.regs["SS.selector"] == 0x68
    Cpu(p).iret()
    assert p.regs == p.trace.start[0]


def test_sysenter_and_sysexit_go_where_their_msrs_and_ecx_and_edx_say():
    user = {"CPL": 3, "CS.selector": 0x73, "SS.selector": 0x7B, "RCX": 0xBFFF_0000, "RDX": 0x804_8000}
    p = narrow(**user)
    c = Cpu(p)
    c.sysenter()
    assert (p.regs["RIP"], p.regs["RSP"], p.regs["CPL"]) == (0xC000_0000, 0xB100_0000, 0)
    assert (p.regs["CS.selector"], p.regs["SS.selector"]) == (0x60, 0x68)
    c.sysexit()
    assert (p.regs["RIP"], p.regs["RSP"], p.regs["CPL"]) == (0x804_8000, 0xBFFF_0000, 3)
    assert (p.regs["CS.selector"], p.regs["SS.selector"]) == (0x73, 0x7B)


def test_a_system_descriptor_has_eight_bytes_outside_long_mode():
    p = narrow()
    p.memory.write(GDT + 0x80, descriptor(0x89, 0x67, 0xB123_0000))
    p.memory.write(GDT + 0x88, (1 << 64) - 1)
    Cpu(p).ltr(0x80)
    assert (p.regs["TR.base"], p.regs["TR.attrib"]) == (0xB123_0000, 0x8B)


def test_outside_long_mode_eax_alone_names_the_page():
    p = narrow()
    Cpu(p).vmsave(0x7_0000_5000)
    assert p.trace[-1].memory[0][0] >> 12 == 5


def test_lsl_is_the_limit_or_nothing():
    c, p = cpu()
    describe(p, 0x78, 0x4F5, 3, 0)
    describe(p, 0x50, 0x82, 0xF, DIRECT_MAP)
    assert [c.lsl(selector) for selector in (0x7B, 0x78, 0, 0x50, 0x700)] == [3, 3, 0, 0, 0]
    p.regs["CPL"] = 3
    describe(p, 0x68, 0xC93, 0xFFFF, 0)
    assert [c.lsl(selector) for selector in (0x7B, 0x68)] == [3, 0]


def test_the_rest_of_what_kernels_use():
    c, p = cpu(XCR0=7, PKRU=0x55, RBX=0xB0B, **{"FS.base": DIRECT_MAP + 0x8000})
    assert (c.xgetbv(), c.rdpkru()) == (7, 0x55)
    c.store_register(DIRECT_MAP + 0x8010, "RBX")
    c.store_fs(0x20, 0xF5)
    assert [c.load_fs(0x10), c.load_fs(0x20)] == [0xB0B, 0xF5]
    with pytest.raises(KeyError, match="no general register 'RIP'"):
        c.store_register(DIRECT_MAP, "RIP")
    p.regs["FS.base"] = 0x5000
    with pytest.raises(Fault, match=r"#PF\(0\): the load or store of fs:0x10: nothing is mapped"):
        c.load_fs(0x10)


# -- the C-bit


def test_what_is_written_at_one_alias_reads_as_ciphertext_at_the_other():
    memory = Memory(sme=True)
    memory.write(0x1000 | C_BIT, 0x1234)
    assert memory.read(0x1000) not in (0, 0x1234)
    assert memory.read(0x1000 | C_BIT) == 0x1234
    assert memory.translate(DIRECT_MAP + 0x1000) == 0x1000 | C_BIT


def test_without_sme_there_is_no_such_address():
    c, _ = cpu()
    with pytest.raises(Fault, match="no RAM"):
        c.vmsave(0x1000 | C_BIT)


def test_vmload_from_the_other_alias_loads_ciphertext():
    p = Processor(0, Memory(sme=True), Trace())
    p.regs.update({"EFER": 1 << 12 | 1 << 10 | 1 << 8, "LSTAR": 0x1234, "GS.base": 0x5678_9000})
    c = Cpu(p)
    c.vmsave(0x2000)
    c.vmload(0x2000 | C_BIT)
    assert p.regs["LSTAR"] != 0x1234
    c.vmload(0x2000)
    assert (p.regs["LSTAR"], p.regs["GS.base"]) == (0x1234, 0x5678_9000)
