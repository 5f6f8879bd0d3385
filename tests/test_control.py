"""Control and debug registers, descriptor-table registers, SYSCALL, SYSRET and IRET."""

import pytest

from machines import FSGSBASE, GDT, LMA, LME, PAE, PAGE, PE, PG, SVME, cpu, describe
from svmlib.faults import Fault
from svmlib.memory import DIRECT_MAP

ET, NW, CD = 1 << 4, 1 << 29, 1 << 30


def faulted(call, *operands):
    """Return a call's fault as text."""
    with pytest.raises(Fault) as fault:
        call(*operands)
    return str(fault.value)


# Register, value written -> value held.
WRITES = [
    (0, PG | PE, PG | PE | ET),
    (0, PG | PE | CD | NW | 1 << 3, PG | PE | ET | CD | NW | 1 << 3),
    (0, PG | PE | 1 << 6 | 1 << 28, PG | PE | ET),
    (2, 0xDEAD_BEEF_0000_1234, 0xDEAD_BEEF_0000_1234),
    (3, 0xF_0000_0018, 0xF_0000_0018),
    (4, PAE, PAE),
    (4, PAE | FSGSBASE | 1 << 9, PAE | FSGSBASE | 1 << 9),
    (8, 0xF, 0xF),
]
REFUSED = [
    (0, 1 << 32 | PG | PE, "bits 63 to 32 are reserved"),
    (0, PG, "PG without PE"),
    (0, PG | PE | NW, "NW without CD"),
    (0, PE, "cannot switch paging off"),
    (3, 1 << 40, "beyond a physical address"),
    (4, 1 << 19 | PAE, "0x80000 are reserved bits"),
    (4, 1 << 12 | PAE, "0x1000 are reserved bits"),
    (4, 0, "PAE cannot be cleared"),
    (8, 0x10, "bits 63 to 4"),
]


@pytest.mark.parametrize("number,value,held", WRITES)
def test_a_control_register_takes_what_its_bits_allow(number, value, held):
    c, p = cpu()
    c.mov_to_cr(number, value)
    assert p.regs[f"CR{number}"] == held == c.mov_from_cr(number)
    assert [step.event for step in p.trace] == ["MOV CRn,r", "MOV r,CRn"]


@pytest.mark.parametrize("number,value,why", REFUSED)
def test_a_control_register_refuses_reserved_bits_and_the_end_of_long_mode(number, value, why):
    c, p = cpu()
    message = faulted(c.mov_to_cr, number, value)
    assert message.startswith(f"#GP(0): MOV CR{number},r")
    assert why in message
    assert p.regs == p.trace.start[0]


def test_outside_long_mode_paging_and_pae_may_go():
    c, p = cpu(EFER=SVME)
    c.mov_to_cr(4, 0)
    c.mov_to_cr(0, PE)
    assert (p.regs["CR4"], p.regs["CR0"]) == (0, PE | ET)


def test_la57_exists_where_the_cpu_has_it_and_cannot_change_in_long_mode():
    c, p = cpu()
    p.features = p.features.but(la57=True)
    assert "LA57 cannot change" in faulted(c.mov_to_cr, 4, PAE | 1 << 12)
    p.regs["EFER"] = SVME
    c.mov_to_cr(4, PAE | 1 << 12)
    assert p.regs["CR4"] == PAE | 1 << 12


@pytest.mark.parametrize("number,value,held", [
    (0, 1 << 63, 1 << 63), (3, 5, 5),
    (6, 0, 0xFFFF_0FF0), (6, 0xFFFF_FFFF, 0xFFFF_EFFF),
    (7, 0, 0x400), (7, 0xFFFF_FFFF, 0xFFFF_2FFF),
])  # fmt: skip
def test_a_debug_register_keeps_what_it_has(number, value, held):
    c, p = cpu()
    c.mov_to_dr(number, value)
    assert p.regs[f"DR{number}"] == held == c.mov_from_dr(number)


@pytest.mark.parametrize("number", [6, 7])
def test_dr6_and_dr7_refuse_their_upper_half(number):
    c, _ = cpu()
    assert "bits 63 to 32" in faulted(c.mov_to_dr, number, 1 << 32)


@pytest.mark.parametrize("name", ["cr", "dr"])
def test_a_register_that_is_not_there_is_undefined(name):
    c, _ = cpu()
    for call in (lambda: getattr(c, f"mov_from_{name}")(5), lambda: getattr(c, f"mov_to_{name}")(5, 0)):
        assert faulted(call) == f"#UD: there is no {name.upper()}5"


@pytest.mark.parametrize("table", ["gdt", "idt"])
def test_the_tables_are_loaded_and_stored_with_a_limit_of_16_bits(table):
    c, p = cpu()
    getattr(c, f"l{table}")(0x1_2345, DIRECT_MAP)
    assert getattr(c, f"s{table}")() == (0x2345, DIRECT_MAP)
    p.regs["CPL"] = 3
    assert getattr(c, f"s{table}")() == (0x2345, DIRECT_MAP)


def test_syscall_takes_everything_from_msrs_and_leaves_fs_and_gs_alone():
    flags = 0x202 | 1 << 8 | 1 << 16
    c, p = cpu(CPL=3, STAR=0x0023_0013_0000_0000, LSTAR=0xFFFF_8000_0000_1000, SFMASK=0x300, RIP=0x1234,
               RFLAGS=flags, **{"GS.base": 0x77})  # fmt: skip
    c.syscall()
    r = p.regs
    assert (r["RIP"], r["RCX"], r["R11"]) == (0xFFFF_8000_0000_1000, 0x1234, flags & ~(1 << 16))
    assert (r["RFLAGS"], r["CPL"]) == (2, 0)
    assert (r["CS.selector"], r["CS.attrib"], r["SS.selector"], r["SS.attrib"]) == (0x10, 0xA9B, 0x18, 0xC93)
    assert r["GS.base"] == 0x77


def test_sysret_goes_to_ring_3_with_the_selectors_of_star():
    c, p = cpu(STAR=0x0023_0010 << 32, RCX=0x4000, R11=0x1_0246)
    c.sysret()
    r = p.regs
    assert (r["RIP"], r["RFLAGS"], r["CPL"]) == (0x4000, 0x246, 3)
    assert (r["CS.selector"], r["CS.attrib"], r["SS.selector"], r["SS.attrib"]) == (0x33, 0xAFB, 0x2B, 0xCF3)


USER_CODE, USER_DATA, CODE, STACK, TOP = 0x33, 0x2B, 0x08, 0x18, DIRECT_MAP + PAGE


def returning(cs=USER_CODE, ss=USER_DATA, rip=0x5000, **registers):
    """Make a CPU with an IRET frame on its stack."""
    c, p = cpu(RSP=TOP, **registers)
    describe(p, 0x08, 0xA9B, 0xFFFF_FFFF, 0)
    describe(p, 0x10, 0xA9F, 0xFFFF_FFFF, 0)  # conforming
    describe(p, 0x18, 0xC93, 0xFFFF_FFFF, 0)
    describe(p, 0x28, 0xCF3, 0xFFFF_FFFF, 0)
    describe(p, 0x30, 0xAFB, 0xFFFF_FFFF, 0)
    describe(p, 0x38, 0xA7B, 0xFFFF_FFFF, 0)  # ring 3 code, not present
    describe(p, 0x40, 0xC73, 0xFFFF_FFFF, 0)  # ring 3 data, not present
    for n, word in enumerate((rip, cs, 0x202, 0x6000, ss)):
        p.memory.write(PAGE + 8 * n, word)
    return c, p


def test_iret_pops_five_words_and_a_new_ring():
    c, p = returning()
    p.nmi_masked = True
    c.iret()
    r = p.regs
    assert (r["RIP"], r["RSP"], r["RFLAGS"], r["CPL"]) == (0x5000, 0x6000, 0x202, 3)
    assert (r["CS.selector"], r["SS.selector"], r["SS.attrib"]) == (USER_CODE, USER_DATA, 0xCF3)
    assert not p.nmi_masked


@pytest.mark.parametrize("attrib,nulled", [
    (0xC93, True), (0xCF3, False), (0xA9B, True), (0xA9F, False), (0, True), (0xCB3, True),
])  # fmt: skip
@pytest.mark.parametrize("name", ["ES", "DS", "FS", "GS"])
def test_on_the_way_out_a_segment_of_an_inner_ring_becomes_null_and_its_base_stays(name, attrib, nulled):
    c, p = returning(**{f"{name}.selector": 0x18, f"{name}.attrib": attrib, f"{name}.base": 0x7777})
    c.iret()
    found = [p.regs[f"{name}.{part}"] for part in ("selector", "attrib", "base")]
    assert found == ([0, 0, 0x7777] if nulled else [0x18, attrib, 0x7777])


def test_inside_a_ring_iret_leaves_segments_alone():
    c, p = returning(CODE, 0, **{"GS.selector": 0x18, "GS.attrib": 0xC93})
    c.iret()
    r = p.regs
    assert (r["CPL"], r["GS.selector"], r["SS.selector"], r["SS.attrib"]) == (0, 0x18, 0, 0)


@pytest.mark.parametrize("frame,fault", [
    ({"cs": 0}, "#GP(0): IRET: CS is null"),
    ({"cs": 0x18}, "#GP(0x18): IRET: 0x18 selects no code segment of ring 0"),
    ({"cs": 0x0B}, "#GP(0x8): IRET: 0xb selects no code segment of ring 3"),
    ({"cs": 0x3B}, "#NP(0x38): IRET: the code segment"),
    ({"cs": 0x800}, "#GP(0x800): IRET: 0x800 lies outside the GDT"),
    ({"ss": 3}, "#GP(0): IRET: SS is null"),
    ({"ss": 0x18}, "#GP(0x18): IRET: SS 0x18 has another ring than CS, 3"),
    ({"ss": 0x33}, "#GP(0x30): IRET: 0x33 selects no stack segment of ring 3"),
    ({"ss": 0x43}, "#NP(0x40): IRET: the stack segment"),
    ({"rip": 1 << 47}, "#GP(0): IRET: RIP 0x800000000000 is not canonical"),
    ({"CPL": 3, "cs": CODE}, "#GP(0x8): IRET: 0x8 selects no code segment of ring 0"),
    ({"RFLAGS": 0x4002}, "#GP(0): IRET while RFLAGS.NT"),
])  # fmt: skip
def test_iret_refuses_a_frame_that_leads_nowhere(frame, fault):
    c, p = returning(**frame)
    before = dict(p.regs)
    assert faulted(c.iret).startswith(fault)
    assert p.regs == before


def test_a_conforming_code_segment_is_returned_to_at_any_ring():
    c, p = returning(cs=0x13)
    c.iret()
    assert (p.regs["CPL"], p.regs["CS.selector"]) == (3, 0x13)


def test_the_gdt_of_a_test_lies_where_gdtr_says():
    _, p = cpu()
    assert p.regs["GDTR.base"] == DIRECT_MAP + GDT
    assert p.regs["EFER"] & (LME | LMA)


def test_rdtscp_and_rdpid_tell_tsc_aux():
    c, p = cpu(TSC_AUX=7)
    assert (c.rdtscp(), c.rdpid()) == (7, 7)
    p.features = p.features.but(rdpid=False)
    assert faulted(c.rdpid) == "#UD: RDPID on a CPU that has none"
