"""Segment loads, base instructions, SWAPGS: what each reads, writes and refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machines import (
    CANONICAL,
    GDT,
    LDT,
    NOT_CANONICAL,
    PAE,
    cpu,
    describe,
)  # fmt: skip
from svmlib.faults import Fault
from svmlib.instructions.segments import _unpacked, descriptor
from svmlib.memory import DIRECT_MAP
from svmlib.registers import REGISTERS

FLAT, LDT_AT, TSS_AT, HIGH = 0x28, 0x50, 0x40, DIRECT_MAP + 0x32000


def parts(p, name):
    return [p.regs[f"{name}.{part}"] for part in ("selector", "attrib", "limit", "base")]


def gdt():
    """Return a CPU whose GDT holds one segment of each kind."""
    old = {"selector": 0x77, "attrib": 0x93, "limit": 0x99, "base": 0x1111_0000_0000}
    c, p = cpu(**{f"{n}.{part}": v for n in ("FS", "GS", "LDTR", "TR") for part, v in old.items()})
    describe(p, 0x08, 0x893, 0xFFFF_FFFF, 0x2000)  # kernel data, DPL 0
    describe(p, 0x10, 0xA9B, 0xFFFF_FFFF, 0)  # readable code, DPL 0
    describe(p, 0x18, 0xA99, 0xFFFF_FFFF, 0)  # code, not readable
    describe(p, 0x20, 0xC73, 0xFFFF_FFFF, 0)  # data, DPL 3, not present
    describe(p, FLAT, 0xCF3, 0xFFFF_FFFF, 0x0123_4567)  # user data
    describe(p, 0x30, 0x0F3, 0xFFFF, 0xFEDC_BA98)  # user data, limit in bytes
    describe(p, 0x38, 0x09F, 0xFFFF, 0)  # conforming readable code, DPL 0
    describe(p, TSS_AT, 0x089, 0x67, HIGH)
    describe(p, LDT_AT, 0x082, 0x0F, DIRECT_MAP + LDT)
    describe(p, 0x60, 0x002, 0x0F, DIRECT_MAP + LDT)  # LDT, not present
    p.memory.write(LDT + 8, descriptor(0xCF3, 0xFFFFF, 0x0009_2000))
    return c, p


LOADED = [
    (0x08, [0x08, 0x893, 0xFFFF_FFFF, 0x2000]),
    (0x10, [0x10, 0xA9B, 0xFFFF_FFFF, 0]),
    (FLAT, [0x28, 0xCF3, 0xFFFF_FFFF, 0x0123_4567]),
    (FLAT | 3, [0x2B, 0xCF3, 0xFFFF_FFFF, 0x0123_4567]),
    (0x33, [0x33, 0x0F3, 0xFFFF, 0xFEDC_BA98]),
    (0x3B, [0x3B, 0x09F, 0xFFFF, 0]),
    (0x1_002B, [0x2B, 0xCF3, 0xFFFF_FFFF, 0x0123_4567]),
]
REFUSED = [
    (0x18, "#GP", 0x18, "selects no data segment"),
    (TSS_AT, "#GP", TSS_AT, "selects no data segment"),
    (LDT_AT | 3, "#GP", LDT_AT, "selects no data segment"),
    (0x0B, "#GP", 0x08, "0xb at CPL 0, and the segment's DPL is 0"),
    (0x11, "#GP", 0x10, "0x11 at CPL 0, and the segment's DPL is 0"),
    (0x23, "#NP", 0x20, "the segment of 0x23 is not present"),
    (0x80, "#GP", 0x80, "lies outside the GDT"),
    (0xFFFB, "#GP", 0xFFF8, "lies outside the GDT"),
    (0x0F, "#GP", 0x0C, "lies outside the LDT"),
    (0x04, "#GP", 0x04, "lies outside the LDT"),
]


@pytest.mark.parametrize("name", ["FS", "GS"])
@pytest.mark.parametrize("selector,expected", LOADED)
def test_a_segment_load_takes_attributes_limit_and_a_32_bit_base_from_the_descriptor(
    name, selector, expected
):
    c, p = gdt()
    p.regs["LDTR.attrib"] = 0
    c.mov_to_sreg(name, selector)
    assert parts(p, name) == expected
    assert c.mov_from_sreg(name) == expected[0]
    changed = {n.split(".")[0] for n in REGISTERS if p.regs[n] != p.trace.start[0][n]} - {"LDTR"}
    assert changed == {name}


@pytest.mark.parametrize("name", ["FS", "GS"])
@pytest.mark.parametrize("selector,vector,code,why", REFUSED)
def test_a_segment_load_refuses_what_is_no_data_segment_for_it(name, selector, vector, code, why):
    c, p = gdt()
    p.regs["LDTR.attrib"] = 0
    before = parts(p, name)
    with pytest.raises(Fault, match=why) as fault:
        c.mov_to_sreg(name, selector)
    assert (fault.value.vector, fault.value.error_code) == (vector, code)
    assert parts(p, name) == before


def test_user_mode_cannot_load_the_kernel_s_data_segment():
    c, p = gdt()
    p.regs["CPL"] = 3
    c.mov_to_sreg("FS", 0x2B)
    with pytest.raises(Fault, match="0x8 at CPL 3, and the segment's DPL is 0"):
        c.mov_to_sreg("FS", 0x08)


@pytest.mark.parametrize("selector", [0, 1, 2, 3])
@pytest.mark.parametrize("name", ["FS", "GS"])
def test_a_null_selector_keeps_its_rpl_and_clears_the_base_where_the_cpu_does(name, selector):
    c, p = gdt()
    c.mov_to_sreg(name, selector)
    assert parts(p, name) == [selector, 0, 0, 0]


def test_an_older_cpu_keeps_base_and_limit_behind_a_null_selector():
    c, p = gdt()
    p.features = p.features.but(null_clears_base=False)
    c.mov_to_sreg("FS", 0)
    assert parts(p, "FS") == [0, 0, 0x99, 0x1111_0000_0000]


def test_a_selector_of_the_ldt_needs_a_usable_ldt():
    c, p = gdt()
    c.lldt(LDT_AT)
    c.mov_to_sreg("FS", 0x0F)
    assert parts(p, "FS") == [0x0F, 0xCF3, 0xFFFFF, 0x0009_2000]
    c.lldt(0)
    with pytest.raises(Fault, match="0xf lies outside the LDT"):
        c.mov_to_sreg("FS", 0x0F)
    c.lldt(LDT_AT)
    with pytest.raises(Fault, match="0x17 lies outside the LDT"):
        c.mov_to_sreg("FS", 0x17)


def test_selector_4_is_the_ldt_s_first_entry_and_not_null():
    c, p = gdt()
    c.lldt(LDT_AT)
    p.memory.write(LDT, descriptor(0xCF3, 0xFF, 0x1000))
    c.mov_to_sreg("GS", 0x07)
    assert parts(p, "GS") == [7, 0xCF3, 0xFFF, 0x1000]


@pytest.mark.parametrize("register", ["TR", "fs", None])
def test_a_register_that_is_no_segment_register_is_answered_with_those_there_are(register):
    c, _ = gdt()
    for issue in (lambda: c.mov_from_sreg(register), lambda: c.mov_to_sreg(register, 0)):
        with pytest.raises(
            KeyError, match=f"no segment register {register!r}; there are ES, CS, SS, DS, FS, GS"
        ):
            issue()


def test_cs_is_read_by_mov_and_never_written():
    c, p = gdt()
    p.regs["CS.selector"] = 0x10
    assert c.mov_from_sreg("CS") == 0x10
    with pytest.raises(Fault, match="#UD: MOV CS"):
        c.mov_to_sreg("CS", 0x10)


@pytest.mark.parametrize("name", ["DS", "ES"])
def test_ds_and_es_load_as_fs_does_and_a_null_selector_clears_them_on_any_cpu(name):
    c, p = gdt()
    p.features = p.features.but(null_clears_base=False)
    c.mov_to_sreg(name, FLAT | 3)
    assert parts(p, name) == [0x2B, 0xCF3, 0xFFFF_FFFF, 0x0123_4567]
    c.mov_to_sreg(name, 2)
    assert parts(p, name) == [2, 0, 0, 0]


# CPL, selector -> what SS holds, or the fault.
STACKS = [
    (0, 0x08, [0x08, 0x893, 0xFFFF_FFFF, 0x2000]),
    (3, FLAT | 3, [0x2B, 0xCF3, 0xFFFF_FFFF, 0x0123_4567]),
    (0, 0, [0, 0, 0, 0]),
    (1, 1, [1, 0, 0, 0]),
    (0, 1, "#GP(0)"),
    (3, 3, "#GP(0)"),
    (0, 0x10, "#GP(0x10)"),  # code
    (0, 0x09, "#GP(0x8)"),  # RPL 1
    (3, 0x0B, "#GP(0x8)"),  # DPL 0
    (0, FLAT, "#GP(0x28)"),  # DPL 3
    (3, 0x23, "#SS(0x20)"),  # not present
]


@pytest.mark.parametrize("cpl,selector,expected", STACKS)
def test_ss_wants_a_writable_segment_of_its_own_ring_or_a_null_selector_inside(cpl, selector, expected):
    c, p = gdt()
    p.regs["CPL"] = cpl
    if isinstance(expected, list):
        c.mov_to_sreg("SS", selector)
        assert (parts(p, "SS"), p.shadow) == (expected, 1)
    else:
        with pytest.raises(Fault) as fault:
            c.mov_to_sreg("SS", selector)
        assert str(fault.value).startswith(f"{expected}:")


@pytest.mark.parametrize("attrib", [0xCF2, 0xCFA])
def test_a_segment_s_first_load_sets_the_accessed_bit_in_memory(attrib):
    c, p = gdt()
    describe(p, FLAT, attrib, 0xFFFF, 0)
    c.mov_to_sreg("FS", FLAT | 3)
    assert p.regs["FS.attrib"] == attrib | 1
    assert p.memory.read(GDT + FLAT + 5, 1) == attrib & 0xFF | 1
    ((pa, old, new),) = p.trace[-1].memory
    assert (pa, old[0], new[0]) == (GDT + FLAT + 5, attrib & 0xFF, attrib & 0xFF | 1)
    c.mov_to_sreg("FS", FLAT | 3)
    assert p.trace[-1].memory == ()


@pytest.mark.parametrize("selector", [None, "0x28", 2.0])
def test_a_selector_that_is_no_number_is_named(selector):
    c, _ = gdt()
    for issue in (lambda: c.mov_to_sreg("FS", selector), lambda: c.lldt(selector), lambda: c.ltr(selector)):
        with pytest.raises(TypeError, match=f"{selector!r} is not a selector"):
            issue()


# -- LLDT and LTR

SYSTEM_REFUSED = [
    (0x0F, "#GP", 0x0C, "selects from the LDT, a system segment lies in the GDT"),
    (0x80, "#GP", 0x80, "lies outside the GDT"),
    (0x78, "#GP", 0x78, "lies outside the GDT"),  # its upper eight bytes do
    (FLAT, "#GP", FLAT, "selects no"),
    (0x10, "#GP", 0x10, "selects no"),
]


@pytest.mark.parametrize("instruction,name", [("lldt", "LDTR"), ("ltr", "TR")])
@pytest.mark.parametrize("selector,vector,code,why", SYSTEM_REFUSED)
def test_lldt_and_ltr_refuse_what_is_no_system_segment_of_the_gdt(
    instruction, name, selector, vector, code, why
):
    c, p = gdt()
    p.memory.write(GDT + 0x78, descriptor(0x082 if instruction == "lldt" else 0x089, 0xF, 0))
    before = parts(p, name)
    with pytest.raises(Fault, match=why) as fault:
        getattr(c, instruction)(selector)
    assert (fault.value.vector, fault.value.error_code) == (vector, code)
    assert parts(p, name) == before


@pytest.mark.parametrize("instruction", ["lldt", "ltr"])
def test_lldt_and_ltr_are_for_ring_0_and_sldt_and_str_for_all(instruction):
    c, p = gdt()
    p.regs["CPL"] = 3
    with pytest.raises(Fault, match=rf"#GP\(0\): {instruction.upper()} at CPL 3"):
        getattr(c, instruction)(0)
    assert (c.sldt(), c.str()) == (0x77, 0x77)


def test_lldt_loads_a_64_bit_base():
    c, p = gdt()
    c.lldt(LDT_AT)
    assert parts(p, "LDTR") == [LDT_AT, 0x082, 0x0F, DIRECT_MAP + LDT]
    assert c.sldt() == LDT_AT


@pytest.mark.parametrize("selector", [0, 3])
def test_a_null_ldt_is_unusable(selector):
    c, p = gdt()
    c.lldt(selector)
    assert parts(p, "LDTR")[:2] == [selector, 0]


def test_lldt_of_an_ldt_that_is_not_present_is_a_segment_not_present_fault():
    c, _ = gdt()
    with pytest.raises(Fault) as fault:
        c.lldt(0x60)
    assert (fault.value.vector, fault.value.error_code) == ("#NP", 0x60)


@pytest.mark.parametrize("base", NOT_CANONICAL, ids=hex)
def test_a_system_segment_with_a_base_that_is_not_canonical_is_refused(base):
    c, p = gdt()
    describe(p, LDT_AT, 0x082, 0xF, base)
    describe(p, TSS_AT, 0x089, 0x67, base)
    for issue, selector in ((c.lldt, LDT_AT), (c.ltr, TSS_AT)):
        with pytest.raises(Fault, match="is not canonical") as fault:
            issue(selector)
        assert (fault.value.vector, fault.value.error_code) == ("#GP", selector)
    assert p.memory.read(GDT + TSS_AT + 5, 1) == 0x89


def test_ltr_sets_the_busy_bit_in_the_gdt_in_memory_and_in_tr():
    c, p = gdt()
    before = p.memory.read(GDT + TSS_AT)
    c.ltr(TSS_AT)
    assert parts(p, "TR") == [TSS_AT, 0x08B, 0x67, HIGH]
    assert p.memory.read(GDT + TSS_AT) == before | 2 << 40
    assert p.trace[-1].memory == ((GDT + TSS_AT + 5, b"\x89", b"\x8b"),)
    assert c.str() == TSS_AT


def test_ltr_refuses_a_busy_tss_until_the_gdt_says_available():
    c, p = gdt()
    c.ltr(TSS_AT)
    with pytest.raises(
        Fault, match=r"available TSS \(a busy one must be made available in the GDT first"
    ) as fault:
        c.ltr(TSS_AT)
    assert (fault.value.vector, fault.value.error_code) == ("#GP", TSS_AT)
    c.store(DIRECT_MAP + GDT + TSS_AT + 5, 0x89, 1)
    c.ltr(TSS_AT)
    assert p.memory.read(GDT + TSS_AT + 5, 1) == 0x8B


def test_ltr_refuses_null_and_a_tss_that_is_not_present():
    c, p = gdt()
    for selector in (0, 3):
        with pytest.raises(Fault, match=r"#GP\(0\): LTR: the selector is null"):
            c.ltr(selector)
    describe(p, TSS_AT, 0x009, 0x67, HIGH)
    with pytest.raises(Fault) as fault:
        c.ltr(TSS_AT)
    assert (fault.value.vector, fault.value.error_code) == ("#NP", TSS_AT)


def test_vmload_of_tr_looks_at_no_busy_bit_and_leaves_the_gdt_alone():
    c, p = gdt()
    c.ltr(TSS_AT)
    c.vmsave(0x50000)
    table = bytes(p.memory.page(GDT))
    c.vmload(0x50000)
    assert bytes(p.memory.page(GDT)) == table
    assert parts(p, "TR") == [TSS_AT, 0x08B, 0x67, HIGH]


@given(st.integers(0, 0xFFF), st.integers(0, 0xFFFFF), st.integers(0, 0xFFFF_FFFF))
def test_a_descriptor_packs_what_a_load_unpacks(attrib, limit, base):
    in_bytes = limit << 12 | 0xFFF if attrib & 0x800 else limit
    assert _unpacked(descriptor(attrib, in_bytes, base)) == (attrib, in_bytes, base)


# semantics.md §1.3's worked values against descriptors of Linux's own GDT.
@pytest.mark.parametrize("raw,attrib,limit", [
    (0x00CF_9300_0000_FFFF, 0xC93, 0xFFFF_FFFF),
    (0x00AF_9B00_0000_FFFF, 0xA9B, 0xFFFF_FFFF),
    (0x0000_9300_0000_FFFF, 0x093, 0xFFFF),
    (0x0000_8B00_0000_0067, 0x08B, 0x67),
    (0x0000_8200_0000_000F, 0x082, 0x0F),
])  # fmt: skip
def test_attributes_are_packed_as_the_vmcb_has_them(raw, attrib, limit):
    assert _unpacked(raw) == (attrib, limit, 0)
    assert descriptor(attrib, limit, 0) == raw


# -- SWAPGS and the base instructions


def test_swapgs_exchanges_the_two_bases_and_nothing_else():
    c, p = cpu(**{"GS.base": 0x1000, "KernelGSBase": 0x2000, "GS.selector": 0x2B, "GS.limit": 7})
    c.swapgs()
    assert p.regs == p.trace.start[0] | {"GS.base": 0x2000, "KernelGSBase": 0x1000}
    c.swapgs()
    assert p.regs == p.trace.start[0]


@pytest.mark.parametrize("cpl", [1, 2, 3])
def test_swapgs_is_for_ring_0(cpl):
    c, _ = cpu(CPL=cpl)
    with pytest.raises(Fault, match=rf"#GP\(0\): SWAPGS at CPL {cpl}"):
        c.swapgs()


BASES = {"FS": "FS.base", "GS": "GS.base"}


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("value", CANONICAL, ids=hex)
@pytest.mark.parametrize("cpl", [0, 3])
def test_a_base_instruction_writes_and_reads_the_base_at_any_cpl(name, value, cpl):
    c, p = cpu(CPL=cpl)
    getattr(c, f"wr{name.lower()}base")(value)
    assert p.regs == p.trace.start[0] | {BASES[name]: value}
    assert getattr(c, f"rd{name.lower()}base")() == value


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("value", [*NOT_CANONICAL, 1 << 64, -1, None, "0"])
def test_a_base_that_is_not_canonical_is_refused(name, value):
    c, p = cpu()
    with pytest.raises(Fault, match=f"WR{name}BASE: .* is not canonical") as fault:
        getattr(c, f"wr{name.lower()}base")(value)
    assert (fault.value.vector, fault.value.error_code) == ("#GP", 0)
    assert p.regs == p.trace.start[0]


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("cpl", [0, 3])
def test_without_cr4_fsgsbase_the_base_instructions_do_not_exist(name, cpl):
    c, _ = cpu(CR4=PAE, CPL=cpl)
    read, write = getattr(c, f"rd{name.lower()}base"), getattr(c, f"wr{name.lower()}base")
    for issue in (read, lambda: write(0), lambda: write(1 << 63)):
        with pytest.raises(Fault, match=r"while CR4\.FSGSBASE is clear; write the MSR instead") as fault:
            issue()
        assert (fault.value.vector, fault.value.error_code) == ("#UD", None)
