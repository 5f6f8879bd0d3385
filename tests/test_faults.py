"""The fault table, row by row and pair by pair: what instructions refuse, and which of two comes first."""

import itertools

import pytest

from machines import FSGSBASE, GDT, LMA, LME, PAE, PAGE, SVME, VMCB, cpu, describe, legal_vmcb
from svmlib.data import rows
from svmlib.faults import Fault
from svmlib.instructions import Cpu
from svmlib.memory import DIRECT_MAP
from svmlib.registers import MSR

TABLE = rows("faults")
NOT_CANONICAL = 1 << 47
# Selectors of the GDT below.
DATA, TSS, BUSY, LDT, ABSENT_DATA, ABSENT_LDT, ABSENT_TSS = 0x08, 0x10, 0x20, 0x30, 0x40, 0x48, 0x58

# Condition -> what it does to the registers, and to the operand by its name.
CONDITIONS = {
    "SVME clear": ({"EFER": LME | LMA | 1}, {}),
    "CPL 3": ({"CPL": 3}, {}),
    "address misaligned": ({}, {"address": VMCB + 8}),
    "address too high": ({}, {"address": 1 << 40}),
    "nobody intercepts": ({}, {}),
    "unknown MSR": ({}, {"msr": 0xC000_0105}),
    "value not canonical": ({}, {"value": NOT_CANONICAL}),
    "value reserved": ({}, {"value": 1 << 63}),
    "FRED": ({"CR4": PAE | FSGSBASE | 1 << 32}, {}),
    "FSGSBASE clear": ({"CR4": PAE}, {}),
    "null selector": ({}, {"selector": 0}),
    "null selector of ring 1": ({}, {"selector": 1}),
    "selector in the LDT": ({}, {"selector": 0x0C}),
    "selector beyond the table": ({}, {"selector": 0x800}),
    "selector of a TSS": ({}, {"selector": TSS}),
    "selector of data": ({}, {"selector": DATA}),
    "DPL below RPL": ({}, {"selector": DATA | 3}),
    "data not present": ({}, {"selector": ABSENT_DATA}),
    "LDT not present": ({}, {"selector": ABSENT_LDT}),
    "busy TSS": ({}, {"selector": BUSY}),
    "TSS not present": ({}, {"selector": ABSENT_TSS}),
    "no such register": ({}, {"number": 5}),
    "CPU without it": ({}, {}),
    "TSD at CPL 3": ({"CPL": 3, "CR4": PAE | FSGSBASE | 1 << 2}, {}),
    "SCE clear": ({"EFER": SVME | LME | LMA}, {}),
    "NT": ({"RFLAGS": 0x4002}, {}),
    "stack not mapped": ({"RSP": 0x1000}, {}),
    "long mode": ({"EFER": SVME | LME | LMA | 1}, {}),
    "outside long mode": ({"EFER": SVME | 1}, {}),
    "SYSENTER_CS null": ({"SYSENTER_CS": 0}, {}),
}


def named(name, *operands):
    """Return a call of the instruction's method with these of the operands."""
    return lambda c, o: getattr(c, name.lower())(*(o[operand] for operand in operands))


# Instruction -> its operands where nothing is wrong, and the call.
CALLS = {
    **{name: ({"address": VMCB}, named(name, "address")) for name in ("VMRUN", "VMLOAD", "VMSAVE")},
    **{name: ({}, named(name))
       for name in ("STGI", "CLGI", "VMMCALL", "SWAPGS", "RDFSBASE", "RDGSBASE", "CLI", "STI", "RDTSCP",
                    "RDPID", "SYSCALL", "SYSRET", "SYSENTER", "SYSEXIT", "IRET")},
    "SKINIT": ({}, lambda c, o: c.skinit(0)),
    "INVLPGA": ({}, lambda c, o: c.invlpga(0x1000, 1)),
    "RDMSR": ({"msr": MSR.LSTAR}, lambda c, o: c.rdmsr(o["msr"])),
    "WRMSR": ({"msr": MSR.LSTAR, "value": 0}, lambda c, o: c.wrmsr(o["msr"], o["value"])),
    "WRFSBASE": ({"value": 0}, lambda c, o: c.wrfsbase(o["value"])),
    "WRGSBASE": ({"value": 0}, lambda c, o: c.wrgsbase(o["value"])),
    "MOV FS": ({"selector": DATA}, lambda c, o: c.mov_to_sreg("FS", o["selector"])),
    "MOV SS": ({"selector": DATA}, lambda c, o: c.mov_to_sreg("SS", o["selector"])),
    "LLDT": ({"selector": LDT}, lambda c, o: c.lldt(o["selector"])),
    "LTR": ({"selector": TSS}, lambda c, o: c.ltr(o["selector"])),
    "LGDT": ({"value": DIRECT_MAP + GDT}, lambda c, o: c.lgdt(0x7F, o["value"])),
    "LIDT": ({"value": DIRECT_MAP}, lambda c, o: c.lidt(0xFFF, o["value"])),
    "MOV CR": ({"number": 4, "value": PAE}, lambda c, o: c.mov_to_cr(o["number"], o["value"])),
    "MOV DR": ({"number": 7, "value": 0x400}, lambda c, o: c.mov_to_dr(o["number"], o["value"])),
}  # fmt: skip


def attempt(instruction, *conditions):
    """Issue an instruction with some things wrong; return the fault as text, or None."""
    registers = {"RSP": DIRECT_MAP + PAGE, "SYSENTER_CS": 0x60}
    if instruction in ("SYSENTER", "SYSEXIT"):
        registers["EFER"] = SVME | 1
    operands, call = CALLS[instruction]
    for condition in conditions:
        changed, wrong = CONDITIONS[condition]
        registers, operands = registers | changed, operands | wrong
    c, p = cpu(**registers)
    p.features = p.features.but(rdpid="CPU without it" not in conditions)
    legal_vmcb(p)
    p.guest = lambda p, pa: 0x72
    describe(p, DATA, 0xC93, 0xFFFF_FFFF, 0)
    for selector, attrib in ((TSS, 0x89), (BUSY, 0x8B), (LDT, 0x82), (ABSENT_LDT, 0x02), (ABSENT_TSS, 0x09)):
        describe(p, selector, attrib, 0x67, DIRECT_MAP + PAGE)
    describe(p, ABSENT_DATA, 0xC13, 0xFFFF, 0)
    for n, word in enumerate((0x1000, 0x68, 2, DIRECT_MAP + PAGE, 0)):  # a frame for IRET
        p.memory.write(PAGE + 8 * n, word)
    describe(p, 0x68, 0xA9B, 0xFFFF_FFFF, 0)
    before = dict(p.regs)
    try:
        call(c, operands)
    except Fault as fault:
        assert {n: v for n, v in p.regs.items() if v != before[n]}.keys() <= {"CR2"}, (
            "a fault changes nothing"
        )
        code = "" if fault.error_code is None or fault.vector == "#PF" else f"({fault.error_code or 0:#x})"
        return fault.vector + code.replace("0x0", "0")
    return None


def expected(row, *conditions):
    """Return the row's fault as `attempt` writes it: "sel" is the selector without its RPL."""
    operands = CALLS[row["instruction"]][0]
    for condition in conditions:
        operands = operands | CONDITIONS[condition][1]
    return row["fault"].replace("sel", f"{operands.get('selector', 0) & ~3:#x}")


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row['instruction']}-{row['condition']}")
def test_each_row_of_the_table_is_a_fault(row):
    assert attempt(row["instruction"], row["condition"]) == expected(row, row["condition"])


@pytest.mark.parametrize("instruction", CALLS)
def test_with_nothing_wrong_an_instruction_executes(instruction):
    always = [row["condition"] for row in TABLE if row["instruction"] == instruction]
    if instruction in ("VMMCALL", "SKINIT"):
        assert attempt(instruction) == "#UD"
    else:
        assert attempt(instruction) is None, always


PAIRS = [
    (first, second)
    for first, second in itertools.combinations(TABLE, 2)
    if first["instruction"] == second["instruction"]
    and first["order"] != second["order"]
    and not set(CONDITIONS[first["condition"]][1]) & set(CONDITIONS[second["condition"]][1])
]


@pytest.mark.parametrize(
    "first,second", PAIRS, ids=lambda row: f"{row['instruction']}-{row['condition']}".replace(" ", "_")
)
def test_of_two_things_wrong_the_earlier_row_wins(first, second):
    both = (first["condition"], second["condition"])
    assert attempt(first["instruction"], *both) == expected(first, *both)


def test_the_table_names_every_instruction_that_can_fault_and_every_condition_is_used():
    assert {row["instruction"] for row in TABLE} == set(CALLS)
    assert {row["condition"] for row in TABLE} == set(CONDITIONS)
    named = {name.split()[0].lower() for name in CALLS} | {"mov_to_sreg", "mov_from_sreg", "mov_to_cr"}
    left = {name for name in dir(Cpu) if name[0] != "_"} - named
    assert left == {"load", "store", "load_gs", "store_gs", "sgdt", "sidt", "sldt", "str",
                    "mov_from_cr", "mov_to_dr", "mov_from_dr", "lsl", "xgetbv", "rdpkru", "load_fs",
                    "store_fs", "store_register"}  # fmt: skip
