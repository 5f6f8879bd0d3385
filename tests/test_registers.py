"""The table of registers against the reference's own: offsets, carriers, MSR numbers, what WRMSR accepts."""

import pytest

from machines import CANONICAL, FSGSBASE, NOT_CANONICAL, PAE, PAGE, cpu, processor
from svmlib.data import FOLDER, rows
from svmlib.faults import Fault
from svmlib.registers import BY_MSR, MSR, REGISTERS, carried_by, register

# Offsets in the save area, which begins at 0x400, and who moves the field (semantics.md §1.1: R, L, none).
SEGMENTS = {
    "ES": (0x000, "VMRUN"), "CS": (0x010, "VMRUN"), "SS": (0x020, "VMRUN"), "DS": (0x030, "VMRUN"),
    "FS": (0x040, "VMSAVE"), "GS": (0x050, "VMSAVE"), "LDTR": (0x070, "VMSAVE"), "TR": (0x090, "VMSAVE"),
}  # fmt: skip
PARTS = {"selector": (0, 16), "attrib": (2, 16), "limit": (4, 32), "base": (8, 64)}
TABLES = {"GDTR": 0x060, "IDTR": 0x080}
FIELDS = {
    "CPL": (0x0CB, 8, "VMRUN"), "EFER": (0x0D0, 64, "VMRUN"), "CR4": (0x148, 64, "VMRUN"),
    "CR3": (0x150, 64, "VMRUN"), "CR0": (0x158, 64, "VMRUN"), "DR7": (0x160, 64, "VMRUN"),
    "DR6": (0x168, 64, "VMRUN"), "RFLAGS": (0x170, 64, "VMRUN"), "RIP": (0x178, 64, "VMRUN"),
    "RSP": (0x1D8, 64, "VMRUN"), "RAX": (0x1F8, 64, "VMRUN"),
    "S_CET": (0x1E0, 64, "none"), "SSP": (0x1E8, 64, "none"), "ISST_ADDR": (0x1F0, 64, "none"),
    "STAR": (0x200, 64, "VMSAVE"), "LSTAR": (0x208, 64, "VMSAVE"), "CSTAR": (0x210, 64, "VMSAVE"),
    "SFMASK": (0x218, 64, "VMSAVE"), "KernelGSBase": (0x220, 64, "VMSAVE"),
    "SYSENTER_CS": (0x228, 64, "VMSAVE"), "SYSENTER_ESP": (0x230, 64, "VMSAVE"),
    "SYSENTER_EIP": (0x238, 64, "VMSAVE"), "CR2": (0x240, 64, "VMRUN"), "PAT": (0x268, 64, "VMRUN"),
    "DEBUGCTL": (0x270, 64, "none"), "BR_FROM": (0x278, 64, "none"), "BR_TO": (0x280, 64, "none"),
    "LASTEXCPFROM": (0x288, 64, "none"), "LASTEXCPTO": (0x290, 64, "none"),
    "SPEC_CTRL": (0x2E0, 64, "software"),
}  # fmt: skip
SAVE_AREA = {
    **{
        f"{name}.{part}": (off + at, bits, carrier)
        for name, (off, carrier) in SEGMENTS.items()
        for part, (at, bits) in PARTS.items()
    },
    **{f"{name}.limit": (off + 4, 32, "VMRUN") for name, off in TABLES.items()},
    **{f"{name}.base": (off + 8, 64, "VMRUN") for name, off in TABLES.items()},
    **FIELDS,
}

# semantics.md §6: number, and the rule a value meets.
MSRS = {
    "STAR": (0xC000_0081, "any"), "LSTAR": (0xC000_0082, "canonical"), "CSTAR": (0xC000_0083, "canonical"),
    "SFMASK": (0xC000_0084, "low32"), "FS_BASE": (0xC000_0100, "canonical"),
    "GS_BASE": (0xC000_0101, "canonical"), "KERNEL_GS_BASE": (0xC000_0102, "canonical"),
    "TSC_AUX": (0xC000_0103, "low32"), "SYSENTER_CS": (0x174, "low32"), "SYSENTER_ESP": (0x175, "sysenter"),
    "SYSENTER_EIP": (0x176, "sysenter"), "VM_HSAVE_PA": (0xC001_0117, "page"), "EFER": (0xC000_0080, "efer"),
    "PAT": (0x277, "pat"), "SPEC_CTRL": (0x48, "any"), "DEBUGCTL": (0x1D9, "any"), "XSS": (0xDA0, "any"),
    "DR0_ADDR_MASK": (0xC001_1027, "low32"), "DR1_ADDR_MASK": (0xC001_1019, "low32"),
    "DR2_ADDR_MASK": (0xC001_101A, "low32"), "DR3_ADDR_MASK": (0xC001_101B, "low32"),
    "FRED_RSP0": (0x1CC, "canonical"), "VM_CR": (0xC001_0114, "vm_cr"),
}  # fmt: skip
_EFER = 1 << 12 | 1 << 8 | 1 << 10 | 1
# rule -> values written and what the register then holds (None: #GP(0)).
RULES = {
    "any": [(value, value) for value in [*CANONICAL, *NOT_CANONICAL]],
    "canonical": [*((v, v) for v in CANONICAL), *((v, None) for v in NOT_CANONICAL)],
    "low32": [(0, 0), (0xFFFF_FFFF, 0xFFFF_FFFF), (0x1_0000_0000, 0), ((1 << 64) - 1, 0xFFFF_FFFF),
              (0x8000_1234_89AB_CDEF, 0x89AB_CDEF)],
    "sysenter": [(0, 0), (0xFFFF_FFFF, 0xFFFF_FFFF), ((1 << 64) - 1, 0xFFFF_FFFF), (1 << 47, 0)],
    "page": [(0, 0), (0x1000, 0x1000), ((1 << 40) - 4096, (1 << 40) - 4096), (0x800, None), (0x1001, None),
             (1 << 40, None), (1 << 63, None)],
    "efer": [(_EFER, _EFER), (_EFER & ~1, _EFER & ~1), (_EFER | 1 << 11, _EFER | 1 << 11),
             (_EFER & ~(1 << 12), _EFER & ~(1 << 12)), (_EFER & ~(1 << 10), _EFER),
             (_EFER & ~(1 << 8), None), (_EFER | 1 << 1, None), (_EFER | 1 << 13, None),
             (_EFER | 1 << 63, None)],
    "pat": [(0x0007040600070406, 0x0007040600070406), (0, 0), (0x0107_0106_0504_0100, 0x0107_0106_0504_0100),
            (0x02, None), (0x03 << 24, None), (0x08 << 56, None)],
    "vm_cr": [(0, 0), (1 << 3, 1 << 3), (1 << 4, None), (1 << 5, None), (1 << 63, None)],
}  # fmt: skip


@pytest.mark.parametrize("name", REGISTERS)
def test_a_register_lies_in_the_vmcb_where_the_reference_says(name):
    row = REGISTERS[name]
    if row.vmcb is None:
        assert name not in SAVE_AREA
    else:
        off, bits, carrier = SAVE_AREA[name]
        assert (row.vmcb, row.bits, row.carrier) == (0x400 + off, bits, carrier)


def test_every_field_of_the_save_area_is_in_the_table():
    assert set(SAVE_AREA) - set(REGISTERS) == set()


def test_what_vmsave_moves_is_128_bytes_in_24_rows():
    moved = carried_by("VMSAVE")
    assert len(moved) == 24
    assert sum(REGISTERS[name].bits // 8 for name in moved) == 128


def test_software_carries_what_no_svm_instruction_moves():
    gprs = "RBX RCX RDX RSI RDI RBP R8 R9 R10 R11 R12 R13 R14 R15"
    rest = "DR0 DR1 DR2 DR3 XCR0 XSS PKRU TSC_AUX SPEC_CTRL"
    assert set(carried_by("software")) == set((gprs + " " + rest).split())


def test_after_an_exit_the_host_has_back_what_vmrun_saved_and_nothing_else():
    after = {name: row.after_exit for name, row in REGISTERS.items() if row.carrier != "none"}
    assert {name for name, whose in after.items() if whose == "reset"} == {"DR7"}
    back = {name for name, whose in after.items() if whose == "host"}
    assert back == set(carried_by("VMRUN")) - {"CR2", "DR6", "DR7"}


def test_every_msr_has_its_number_and_no_other_is_there():
    assert vars(MSR) == {name: number for name, (number, _) in MSRS.items()}
    assert {row.msr_name: row.write for row in BY_MSR.values()} == {
        name: rule for name, (_, rule) in MSRS.items()
    }


WRITES = [
    pytest.param(name, value, held, id=f"{name}={value:#x}")
    for name, (_, rule) in MSRS.items()
    for value, held in RULES[rule]
]


@pytest.mark.parametrize("name,value,held", WRITES)
def test_wrmsr_accepts_cuts_or_refuses_a_value_by_the_rule_of_its_register(name, value, held):
    c, p = cpu()
    p.features = p.features.but(fred=True)
    number = MSRS[name][0]
    row = BY_MSR[number]
    before = p.regs[row.name]
    if held is None:
        with pytest.raises(Fault, match=f"WRMSR {name}") as fault:
            c.wrmsr(number, value)
        assert (fault.value.vector, fault.value.error_code) == ("#GP", 0)
        held = before
    else:
        c.wrmsr(number, value)
    assert p.regs[row.name] == held
    assert c.rdmsr(number) == held
    assert all(p.regs[other] == value for other, value in p.trace.start[0].items() if other != row.name)


def test_lme_can_change_while_paging_is_off():
    c, p = cpu(CR0=1)
    c.wrmsr(MSR.EFER, 1 << 12)
    assert p.regs["EFER"] == 1 << 12 | 1 << 10  # LMA is not software's to write


@pytest.mark.parametrize("features,options,write,held", [
    ({}, {}, 1 << 40 | 5, 5),
    ({"sysenter32": False}, {}, 1 << 40 | 5, 1 << 40 | 5),
    ({"sysenter32": False}, {}, 1 << 47, None),
    ({}, {"sysenter_canonical": True}, 1 << 47, None),
    ({}, {"sysenter_raw": True}, 1 << 47, 1 << 47),
])  # fmt: skip
def test_the_sysenter_msrs_are_amd_s_of_32_bits_or_intel_s(features, options, write, held):
    for number in (MSR.SYSENTER_ESP, MSR.SYSENTER_EIP):
        c, p = cpu()
        p.features, p.options = p.features.but(**features), p.options.but(**options)
        if held is None:
            with pytest.raises(Fault, match="is not canonical"):
                c.wrmsr(number, write)
        else:
            c.wrmsr(number, write)
            assert c.rdmsr(number) == held


def test_with_five_level_paging_an_address_is_canonical_from_bit_56():
    c, p = cpu(CR4=PAE | FSGSBASE | 1 << 12)
    wide = 0x00AB_0000_0000_0000
    with pytest.raises(Fault, match="bits 63 to 47"):
        c.wrmsr(MSR.LSTAR, wide)
    p.features = p.features.but(la57=True)
    for write in (lambda: c.wrmsr(MSR.LSTAR, wide), lambda: c.wrgsbase(wide), lambda: c.lgdt(0x7F, wide)):
        write()
    with pytest.raises(Fault, match="bits 63 to 56"):
        c.wrfsbase(1 << 56)
    for name in ("FS.base", "KernelGSBase", "LSTAR"):
        p.regs[name] = wide
    c.vmsave(PAGE)
    c.vmload(PAGE)
    assert (p.regs["FS.base"], p.regs["KernelGSBase"]) == (wide, wide)
    p.regs["CR4"] &= ~(1 << 12)
    c.vmload(PAGE)
    assert (p.regs["FS.base"], p.regs["LSTAR"]) == (0, wide)


def test_a_locked_vm_cr_keeps_svmdis_and_svmdis_keeps_svme_off():
    c, _ = cpu(EFER=1 << 8 | 1 << 10)
    c.wrmsr(MSR.VM_CR, 1 << 4 | 1 << 3)
    with pytest.raises(Fault, match="SVMDIS keeps SVME"):
        c.wrmsr(MSR.EFER, 1 << 12 | 1 << 8)
    c.wrmsr(MSR.VM_CR, 0)
    assert c.rdmsr(MSR.VM_CR) == 1 << 4 | 1 << 3


@pytest.mark.parametrize("number", [0, 0x10, 0x1B, 0xC000_0105, 0x1CC, 1 << 32, -1, "LSTAR", None])
def test_an_unknown_msr_is_a_general_protection_fault_that_names_it(number):
    c, _ = cpu()
    named = f"{number:#x}" if isinstance(number, int) else repr(number)
    for issue in (lambda: c.rdmsr(number), lambda: c.wrmsr(number, 0)):
        with pytest.raises(Fault, match=f"{named}: no such MSR; svmlib.registers.MSR lists") as fault:
            issue()
        assert (fault.value.vector, fault.value.error_code) == ("#GP", 0)


@pytest.mark.parametrize("value", [-1, 1 << 64, None, "0", 1.0])
def test_wrmsr_of_what_is_no_64_bit_number_names_the_value(value):
    c, p = cpu()
    with pytest.raises(Fault, match="not a 64-bit number"):
        c.wrmsr(MSR.STAR, value)
    assert p.regs["STAR"] == 0


@pytest.mark.parametrize("cpl", [1, 2, 3])
def test_rdmsr_and_wrmsr_are_for_ring_0(cpl):
    c, _ = cpu(CPL=cpl)
    for issue in (lambda: c.rdmsr(MSR.STAR), lambda: c.wrmsr(MSR.STAR, 0), lambda: c.rdmsr(0)):
        with pytest.raises(Fault, match=rf"#GP\(0\): (RDMSR|WRMSR) at CPL {cpl}"):
            issue()


def test_a_write_of_a_base_leaves_selector_attributes_and_limit():
    c, p = cpu(**{"FS.selector": 0x2B, "FS.attrib": 0xCF3, "FS.limit": 0xFFFF})
    c.wrmsr(MSR.FS_BASE, 0x1000)
    segment = [p.regs[f"FS.{part}"] for part in ("selector", "attrib", "limit", "base")]
    assert segment == [0x2B, 0xCF3, 0xFFFF, 0x1000]


def test_a_register_that_does_not_exist_is_answered_with_those_near_it():
    with pytest.raises(KeyError, match=r"no register 'FS\.bas'; data/registers.csv has FS\.selector"):
        register("FS.bas")
    with pytest.raises(KeyError, match="no register 'XMM0'"):
        register("XMM0")
    with pytest.raises(ValueError, match="no carrier 'VMLOAD'; a register is carried by VMRUN, VMSAVE"):
        carried_by("VMLOAD")
    with pytest.raises(KeyError, match="no data table 'state'; the tables are"):
        rows("state")


TABLE_NAMES = sorted(path.stem for path in FOLDER.glob("*.csv"))


@pytest.mark.parametrize("table", [name for name in TABLE_NAMES if name != "sources"])
def test_every_row_names_sources_that_exist(table):
    known = {row["id"] for row in rows("sources")}
    for row in rows(table):
        assert set(row["source"].split()) <= known, row
        assert row["source"], row


def test_every_source_says_what_it_is_and_where_and_no_two_share_an_id():
    sources = rows("sources")
    assert len({row["id"] for row in sources}) == len(sources)
    assert all(row["title"] and row["where"] and row["date"] and row["licence"] for row in sources)


@pytest.mark.parametrize("table", TABLE_NAMES)
def test_every_row_fills_the_columns_of_its_table(table):
    columns = list(rows(table)[0])
    for row in rows(table):
        assert None not in row, row
        assert list(row) == columns
        assert None not in row.values(), row


def test_a_new_processor_has_every_register_at_zero_and_gif_set():
    p = processor()
    assert set(p.regs) == set(REGISTERS)
    assert p.gif == 1
