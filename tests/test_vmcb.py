"""The VMCB page byte for byte: what VMSAVE writes and VMLOAD reads, and how a page is read by name."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machines import EDGES, PAGE, VMCB, cpu, legal_vmcb, processor
from svmlib.data import rows
from svmlib.instructions import svm
from svmlib.memory import Memory
from svmlib.registers import REGISTERS, carried_by
from svmlib.vmcb import CONTROL, Layout, Vmcb

# ground_truth.md §3: the bytes VMSAVE writes, found with two emulators on pages of 0xA5 and of 0x5A.
FOOTPRINT = {*range(0x440, 0x460), *range(0x470, 0x480), *range(0x490, 0x4A0), *range(0x600, 0x640)}
# The same 128 bytes as one packed structure: FS GS LDTR TR, then the eight MSRs in the order of the VMCB.
SEGMENTS = {"FS": 0x440, "GS": 0x450, "LDTR": 0x470, "TR": 0x490}
MSRS = {
    "STAR": 0x600, "LSTAR": 0x608, "CSTAR": 0x610, "SFMASK": 0x618, "KernelGSBase": 0x620,
    "SYSENTER_CS": 0x628, "SYSENTER_ESP": 0x630, "SYSENTER_EIP": 0x638,
}  # fmt: skip
# semantics.md §1.5.
CONTROL_AREA = {
    "INTERCEPTS": 0x000, "IOPM_BASE": 0x040, "MSRPM_BASE": 0x048, "NESTED_CR3": 0x0B0, "VMSA_PA": 0x108,
    "INTERCEPT_WORD3": 0x00C, "INTERCEPT_WORD4": 0x010, "TSC_OFFSET": 0x050, "ASID": 0x058, "INT_CTL": 0x060,
    "INT_STATE": 0x068, "EXITCODE": 0x070, "EXITINFO1": 0x078, "EXITINFO2": 0x080, "EXITINTINFO": 0x088,
    "MISC_CTL": 0x090, "EVENTINJ": 0x0A8, "MISC_CTL2": 0x0B8, "CLEAN": 0x0C0,
}  # fmt: skip


def filled(byte):
    """Return a processor whose every register holds a value of its own, and a page of `byte`."""
    c, p = cpu()
    keep = {"EFER", "CPL", "CR0", "CR4"}
    for n, (name, row) in enumerate(REGISTERS.items()):
        if name not in keep:
            p.regs[name] = (0x0101_0101_0101_0101 * (n % 120 + 1)) & ((1 << row.bits) - 1)
    p.memory.page(PAGE)[:] = bytes([byte]) * 4096
    return c, p


@pytest.mark.parametrize("byte", [0xA5, 0x5A])
def test_vmsave_writes_its_128_bytes_and_no_other(byte):
    c, p = filled(byte)
    c.vmsave(PAGE)
    page = p.memory.page(PAGE)
    assert {at for at in range(4096) if page[at] != byte} <= FOOTPRINT
    for name, at in SEGMENTS.items():
        parts = [p.regs[f"{name}.{part}"] for part in ("selector", "attrib", "limit", "base")]
        assert page[at : at + 16] == struct.pack("<HHIQ", *parts), name
    for name, at in MSRS.items():
        assert page[at : at + 8] == struct.pack("<Q", p.regs[name]), name


def test_over_two_patterns_every_byte_of_the_footprint_is_written():
    changed = set()
    for byte in (0xA5, 0x5A):
        c, p = filled(byte)
        c.vmsave(PAGE)
        changed |= {at for at, found in enumerate(p.memory.page(PAGE)) if found != byte}
    assert changed == FOOTPRINT
    assert len(FOOTPRINT) == 128


def test_vmsave_changes_no_register_and_vmload_no_memory():
    c, p = filled(0xA5)
    registers = dict(p.regs)
    c.vmsave(PAGE)
    assert p.regs == registers
    page = bytes(p.memory.page(PAGE))
    c.vmload(PAGE)
    assert bytes(p.memory.page(PAGE)) == page
    assert p.gif == 1


@pytest.mark.parametrize("name", [name for name in REGISTERS if REGISTERS[name].carrier == "VMSAVE"])
def test_vmload_brings_a_register_back_from_where_vmsave_put_it(name):
    c, p = cpu()
    width = {"attrib": 12}.get(name.split(".")[-1], min(REGISTERS[name].bits, 32))
    value = 0x5A5A_5A5A_5A5A & ((1 << width) - 1)
    p.regs[name] = value
    c.vmsave(PAGE)
    p.regs[name] = 0
    c.vmload(PAGE)
    assert p.regs[name] == value


def test_vmload_changes_only_what_vmsave_stores():
    c, p = cpu()
    before = dict(p.regs)
    p.memory.page(PAGE)[:] = bytes([0x11]) * 4096
    c.vmload(PAGE)
    assert {name for name in p.regs if p.regs[name] != before[name]} == set(carried_by("VMSAVE"))


BASES = [(name, 0x448) for name in ["FS.base"]] + [
    ("GS.base", 0x458), ("LDTR.base", 0x478), ("TR.base", 0x498), ("KernelGSBase", 0x620),
]  # fmt: skip


@pytest.mark.parametrize("name,at", BASES)
@pytest.mark.parametrize("value", EDGES, ids=hex)
def test_vmload_sign_extends_a_base_from_bit_47_and_never_faults(name, at, value):
    c, p = cpu()
    p.memory.write(PAGE + at, value)
    c.vmload(PAGE)
    assert p.regs[name] == EDGES[value]


@pytest.mark.parametrize("name,at", [("STAR", 0x600), ("LSTAR", 0x608), ("CSTAR", 0x610), ("SFMASK", 0x618)])
@pytest.mark.parametrize("value", EDGES, ids=hex)
def test_vmload_copies_the_syscall_registers_as_they_are(name, at, value):
    c, p = cpu()
    p.memory.write(PAGE + at, value)
    c.vmload(PAGE)
    assert p.regs[name] == value


@pytest.mark.parametrize("name,at", [("SYSENTER_ESP", 0x630), ("SYSENTER_EIP", 0x638)])
def test_vmload_drops_the_upper_half_of_the_sysenter_addresses(name, at):
    c, p = cpu()
    p.memory.write(PAGE + at, 0x1234_5678_9ABC_DEF0)
    c.vmload(PAGE)
    assert p.regs[name] == 0x9ABC_DEF0


@pytest.mark.parametrize("name,at", SEGMENTS.items())
def test_vmload_takes_12_bits_of_attributes_and_all_of_selector_and_limit(name, at):
    c, p = cpu()
    p.memory.page(PAGE)[at : at + 8] = b"\xff" * 8
    c.vmload(PAGE)
    assert [p.regs[f"{name}.{part}"] for part in ("selector", "attrib", "limit")] == [
        0xFFFF,
        0xFFF,
        0xFFFF_FFFF,
    ]


@pytest.mark.parametrize("field,offset", CONTROL_AREA.items())
def test_a_field_of_the_control_area_lies_where_the_reference_says(field, offset):
    assert CONTROL[field][0] == offset
    vmcb = Vmcb(Memory(), VMCB)
    vmcb[field] = 0x89AB_CDEF
    assert vmcb.page[offset : offset + 4] == bytes.fromhex("efcdab89")
    assert vmcb[field] == 0x89AB_CDEF


def test_every_field_of_the_control_table_is_checked_above():
    assert {row["field"] for row in rows("vmcb_control")} == set(CONTROL_AREA)


@pytest.mark.parametrize("name", [name for name, row in REGISTERS.items() if row.vmcb is not None])
def test_a_vmcb_is_read_and_written_by_name_in_exactly_the_register_s_bytes(name):
    row = REGISTERS[name]
    vmcb = Vmcb(Memory(), VMCB)
    vmcb[name] = (1 << row.bits) - 1
    written = {at for at, byte in enumerate(vmcb.page) if byte}
    assert written == set(range(row.vmcb, row.vmcb + row.bits // 8))
    assert vmcb[name] == (1 << row.bits) - 1
    with pytest.raises(OverflowError):
        vmcb[name] = 1 << row.bits


def test_no_two_registers_share_a_byte_of_the_vmcb():
    taken = [
        at for r in REGISTERS.values() if r.vmcb is not None for at in range(r.vmcb, r.vmcb + r.bits // 8)
    ]
    assert len(taken) == len(set(taken))


def test_a_register_without_a_place_in_the_vmcb_is_named():
    vmcb = Vmcb(Memory(), VMCB)
    with pytest.raises(KeyError, match="TSC_AUX has no place in the VMCB; software carries it"):
        vmcb["TSC_AUX"]
    with pytest.raises(KeyError, match="no register 'NOPE'"):
        vmcb["NOPE"] = 1


@given(st.data())
def test_a_layout_reads_what_it_wrote_and_touches_no_other_byte(data):
    placed = [name for name, row in REGISTERS.items() if row.vmcb is not None]
    names = data.draw(st.lists(st.sampled_from(placed), min_size=2, unique=True))
    layout = Layout(names)
    values = tuple(data.draw(st.integers(0, (1 << REGISTERS[name].bits) - 1)) for name in layout.names)
    page = bytearray(b"\xa5" * 4096)
    ((at, old, new),) = layout.write(page, values, VMCB)
    assert layout.read(layout.image(page)) == values
    assert set(layout.names) == set(names)
    own = {b for n in names for b in range(REGISTERS[n].vmcb, REGISTERS[n].vmcb + REGISTERS[n].bits // 8)}
    assert all(byte == 0xA5 for b, byte in enumerate(page) if b not in own)
    assert old == b"\xa5" * len(new)
    assert bytes(page[at - VMCB : at - VMCB + len(new)]) == new


def test_what_vmrun_and_vmexit_leave_of_a_vmcb_s_vmsave_fields_is_all_of_it():
    p = processor()
    vmcb = legal_vmcb(p)
    for at in FOOTPRINT:
        vmcb.page[at] = 0xA5
    p.regs.update(dict.fromkeys(carried_by("VMSAVE"), 0))
    p.guest = lambda p, pa: p.regs.update(dict.fromkeys(carried_by("VMSAVE"), 1)) or 0x72
    svm.vmrun(p, VMCB)
    assert all(vmcb.page[at] == 0xA5 for at in FOOTPRINT)
    assert all(p.regs[name] == 1 for name in carried_by("VMSAVE"))


def test_a_vmcb_prints_as_a_table_of_what_is_in_it():
    p = processor()
    vmcb = legal_vmcb(p)
    vmcb["GS.selector"], vmcb["GS.attrib"], vmcb["GS.limit"], vmcb["GS.base"] = 0x2B, 0xCF3, 0xFFFF, 0x7F00
    vmcb["LSTAR"] = 0xABC
    lines = repr(vmcb).splitlines()
    assert lines[0] == f"VMCB at {VMCB:#x}"
    assert lines[2:4] == ["  0x000  INTERCEPTS       VMRUN", "  0x058  ASID             0x1"]
    assert "  0x450  GS         002b     0cf3   0000ffff 0000000000007f00" in lines
    assert [line for line in lines if "GDTR" in line] == [
        "  0x460  GDTR                       00000000 0000000000000000"
    ]
    assert "  0x608  LSTAR        0xabc" in lines
    assert not any("CSTAR" in line for line in lines)


def test_the_hex_map_shows_what_the_last_vmsave_wrote_and_dots_where_it_did_not():
    c, p = cpu(STAR=0x1234, **{"FS.selector": 0x2B})
    vmcb = Vmcb(p.memory, PAGE)
    assert vmcb.hex_map(p.trace) == f"No VMSAVE wrote to the page at {PAGE:#x}."
    c.vmsave(PAGE)
    p.regs["STAR"] = 0x5634
    c.vmsave(PAGE)
    lines = vmcb.hex_map(p.trace).splitlines()
    assert len(lines) == len(FOOTPRINT) // 16
    assert lines[0].startswith("0x440 2b 00 00 ")
    assert lines[0].endswith(" FS")
    star = next(line for line in lines if "STAR LSTAR" in line)
    assert star.startswith("0x600 34 56*00 ")
    assert not any(line.startswith("0x460") for line in lines)
    assert all(len(line) <= 80 for line in lines)
