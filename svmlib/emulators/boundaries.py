"""The values at which rules change: operands, VMCB fields, intercepts and events of random programs.

Where a tuple has a value twice, it is to be drawn twice as often.
"""

from typing import NamedTuple

from ..instructions.intercepts import EXITCODES
from ..registers import MSR, REGISTERS
from ..vmcb import CONTROL
from . import layout as at
from .programs import Operation

BASES = (
    0,
    1,
    at.linear(at.HOST),
    at.linear(at.GUEST) + 0x440,
    (1 << 47) - 1,
    1 << 47,
    -(1 << 47),
    -(1 << 47) - 1,
    1 << 48,
    0x1234_8000_0000_0000,
    0x8000_0000_0000_0000,
    0x7FFF_FFFF_FFFF_FFFF,
    -1,
    0xFFFF_FFFF,
    0x1_0000_0000,
    0x5555_AAAA_5555_AAAA,
)
NUMBERS = (*BASES, 0xFFFF, 0x1_0000, 0x1234_5678, 0xFFFF_FFFF_0000_0000)
SELECTORS = (*(entry[0] for entry in at.DESCRIPTORS), 0xD8, 0x1000, 0xFFF8)
LDT_SELECTORS = (0x04, 0x0C, 0x14, 0x1C)
CODES = (0x08, 0x08, 0x1B, 0x1B, 0xCB, 0x80, 0x88, 0x8B)
STACKS = (0x10, 0x10, 0x23, 0x23, 0x68, 0x7B, 0x93, 0x00, 0x03)
PAGES = (at.HOST, at.GUEST, at.SPARE)
BAD_PAGES = (at.HOST + 1, at.GUEST + 0x800, 1 << 40, 1 << 63, at.HOST | 1 << 52, 0xFFF)
MSRS = tuple(
    getattr(MSR, name)
    for name in (
        *("FS_BASE", "GS_BASE", "KERNEL_GS_BASE", "STAR", "LSTAR", "CSTAR", "SFMASK"),
        *("SYSENTER_CS", "SYSENTER_ESP", "SYSENTER_EIP", "TSC_AUX", "VM_HSAVE_PA", "PAT"),
    )
)
UNKNOWN_MSR = 0xC000_0105
EFERS = (at.EFER, at.EFER & ~1, at.EFER & ~0x1000, at.EFER & ~0x1000, at.EFER | 1 << 20, at.EFER & ~0x800)
_PAT = at.REGISTERS_AT_START["PAT"]
PATS = (_PAT, 0, 0x0106_0504_0701_0006, _PAT ^ 4, _PAT | 0xFF << 56)
#: CR0: MP, EM, TS, NE, WP, AM, CD, NW in turn; NW alone and bits 63 to 32 are illegal, the rest reserved.
_CR0S = (
    *(at.CR0 ^ bit for bit in (1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 5, 1 << 16, 1 << 18, 1 << 30, 3 << 29)),
    *(at.CR0 | bit for bit in (1 << 29, 1 << 32, 1 << 63, 1 << 15, 1 << 28)),
)
#: CR4: FSGSBASE mostly; TSD, DE, PSE, MCE, PGE, PCE, OSXMMEXCPT.
_CR4S = tuple(at.CR4 ^ bit for bit in (0, 0x1_0000, 0x1_0000, 4, 8, 0x10, 0x40, 0x80, 0x100, 0x400))
CONTROL_VALUES = {
    0: _CR0S,
    2: NUMBERS,
    3: (at.PML4, at.PML4 | 8, at.PML4 | 0x18, at.PML4 | 0xFE7),
    4: _CR4S,
    8: (0, 3, 4, 5, 15, 16, 1 << 32),
}
LOW_PRIORITIES = (0, 3, 16, 1 << 32)
DR6S = (at.DR6, 0, at.DR6 | 0xF, at.DR6 | 0xE000, 0x1000, 1 << 32, 1 << 63)
DR7S = (at.DR7, 0, 0xFFFF_0400, 0x700, 0xD800, 1 << 32, 1 << 63)
TABLE_BASES = (at.linear(at.TABLES), at.linear(at.TABLES_OTHER), at.linear(at.TABLES_OTHER))
IDT_BASES = (at.linear(at.IDT), at.linear(at.IDT_OTHER), at.linear(at.IDT_OTHER))
GDT_LIMITS = (at.GDT_LIMIT, 0xCF, 0x6F, 0x3FF)
IDT_LIMITS = (at.IDT_LIMIT, 0xFFF, 0xFFFF)
NOT_CANONICAL = (0x1234_8000_0000_0000, 1 << 47, -(1 << 47) - 1, 1 << 63)

#: VMCB fields that a guest can be started with otherwise, and values.
GUEST_FIELDS = (
    ("CR0", tuple(value for value in _CR0S[:9])),
    ("CR2", (0, 0x1234_5000, -1)),
    ("CR4", (at.CR4 & ~0x1_0000, at.CR4, at.CR4 & ~0x1_0000)),
    ("DR6", (at.DR6 | 1, at.DR6 | 0x4000)),
    ("DR7", (0, 0xFFFF_0400)),
    ("RFLAGS", (2, 0x202, 0x202)),
    ("RFLAGS", (2, 0x202, 0x202)),
    ("PAT", PATS[:3]),
    ("ES.base", (1 << 47, 0x1234_5678)),
    ("DS.selector", (0, 3, 0x10)),
    ("GDTR.base", (at.linear(at.TABLES_OTHER),)),
    ("INT_STATE", (0, 1, 1)),
    ("INT_CTL", (0, 1 << 24, 1 << 24 | 5, 3, 1 << 25, 3 << 24)),
    ("INT_CTL", (1 << 24, 1 << 24 | 5, 1 << 25, 1 << 25 | 1 << 9)),
)
_EVENTS_CODE = tuple(1 << 31 | 1 << 11 | 3 << 8 | vector for vector in (8, 10, 11, 12, 13, 14))
#: EVENTINJ: interrupt, NMI, software interrupt; exceptions without and with an error code.
EVENTS = (
    *(1 << 31 | 0x40, 1 << 31 | 0x40, 1 << 31 | 2 << 8 | 2, 1 << 31 | 4 << 8 | 0x40, 0x40),
    *(1 << 31 | 3 << 8 | vector for vector in (0, 1, 6, 7, 16, 19)),
    *(event | code << 32 for event in _EVENTS_CODE for code in (0, 0x18)),
)
#: Check of data/vmrun_checks.csv -> fields that fail it, and values.  Bochs panics at CR0.PE without which it
#: has long mode; the runtime has no mode without paging.
ILLEGAL: dict[str, tuple[tuple[str, tuple[int, ...]], ...]] = {
    "intercept": (("INTERCEPT_WORD4", (2,)),),
    "asid": (("ASID", (0,)),),
    "efer_svme": (("EFER", (at.EFER & ~0x1000,)),),
    "efer_reserved": (("EFER", (at.EFER | 1 << 20, at.EFER | 1 << 63)),),
    "cr0_high": (("CR0", (at.CR0 | 1 << 32, at.CR0 | 1 << 63)),),
    "cr0_nw": (("CR0", (at.CR0 | 1 << 29,)),),
    "cr4_high": (("CR4", (at.CR4 | 1 << 32, at.CR4 | 1 << 63)),),
    "cr4_reserved": (("CR4", (at.CR4 | 1 << 13, at.CR4 | 1 << 24, at.CR4 | 1 << 12)),),
    "dr6_high": (("DR6", (at.DR6 | 1 << 32, at.DR6 | 1 << 63)),),
    "dr7_high": (("DR7", (at.DR7 | 1 << 32, at.DR7 | 1 << 63)),),
    "long_pae": (("CR4", (at.CR4 & ~0x20,)),),
    "long_pe": (),
    "long_cs": (("CS.attrib", (0xE9B,)),),
    "cr3_reserved": (("CR3", (at.PML4 | 1 << 52, at.PML4 | 1 << 63)),),
    "msrpm": (
        ("MSRPM_BASE", (1 << 40, (1 << 40) - 0x1000, (1 << 40) - 0x2000)),
        ("INTERCEPT_WORD3", (1 << 28,)),
    ),
    "iopm": (
        ("IOPM_BASE", (1 << 40, (1 << 40) - 0x1000, (1 << 40) - 0x2000, (1 << 40) - 0x3000)),
        ("INTERCEPT_WORD3", (1 << 27,)),
    ),
    "eventinj": (
        ("EVENTINJ", (1 << 31 | 1 << 8, 1 << 31 | 5 << 8 | 6, 1 << 31 | 3 << 8 | 2, 1 << 31 | 3 << 8 | 40)),
    ),
    "nested_paging": (),
    "pat": (("PAT", (_PAT ^ 4, _PAT | 0xFF << 56)),),
}


class Intercept(NamedTuple):
    """A bit of the VMCB's intercepts, and operations that meet it; `alone`: no way to CPL 3 beside it."""

    code: int
    meets: tuple[Operation, ...]
    alone: bool = False


def _intercepts() -> list[Intercept]:
    """What a guest may have intercepted.  SKINIT is never executed, so its bit would tell nothing."""
    chosen = [
        Intercept(EXITCODES[kind] + n, ((f"mov_{way}_{kind[:2].lower()}", n, *value),))
        for kind, way, value in (
            *(("CR_READ", "from", ()), ("DR_READ", "from", ())),
            *(("CR_WRITE", "to", (0,)), ("DR_WRITE", "to", (0,))),
        )
        for n in ((0, 2, 3, 4, 8) if kind[0] == "C" else (0, 1, 2, 3, 6, 7))
    ]
    exceptions = (
        (6, ("rdpid",)),
        (11, ("mov_to_sreg", "FS", 0x70)),
        (12, ("mov_to_sreg", "SS", 0x70)),
        (13, ("ltr", 0)),
        (14, ("load", 0x1000, 8)),
    )
    chosen += [Intercept(EXITCODES["EXCEPTION"] + vector, (meets,)) for vector, meets in exceptions]
    chosen += 3 * [Intercept(EXITCODES["INTR"], (("sti",), ("intr",), ("sti",)))]
    chosen += 2 * [Intercept(EXITCODES["NMI"], (("nmi",),))]
    tables = ("sidt", "sgdt", "sldt", "str", "lidt", "lgdt", "lldt", "ltr")
    operands: dict[str, tuple[int, ...]] = {
        "lidt": (at.IDT_LIMIT, IDT_BASES[1]),
        "lgdt": (at.GDT_LIMIT, TABLE_BASES[1]),
        "lldt": (0x48,),
        "ltr": (0x38,),
    }
    chosen += [Intercept(EXITCODES[name.upper()], ((name, *operands.get(name, ())),)) for name in tables]
    chosen += [
        Intercept(EXITCODES["IRET"], (("iret", 0x08, 0x10),)),
        Intercept(EXITCODES["INVLPGA"], (("invlpga", 0, 1),)),
        Intercept(EXITCODES["RDTSCP"], (("rdtscp",),)),
        Intercept(EXITCODES["STGI"], (("stgi",),)),
        Intercept(EXITCODES["CLGI"], (("clgi",),)),
        Intercept(EXITCODES["VMLOAD"], (("vmload", at.SPARE), ("vmload", at.SPARE + 1)), alone=True),
        Intercept(EXITCODES["VMSAVE"], (("vmsave", at.SPARE), ("vmsave", 1 << 40)), alone=True),
    ]
    return chosen


INTERCEPTS = _intercepts()
MSR_PROT = EXITCODES["MSR"]
CARRIED = tuple(row for row in REGISTERS.values() if row.carrier == "VMSAVE")
#: What a program loads from a page: not TR's busy bit, which is not compared.
LOADED = tuple(row for row in CARRIED if row.name != "TR.attrib")
SEGMENTS = ("FS", "GS", "FS", "GS", "DS", "ES", "SS")
#: Operations that go to CPL 3, or by way of the runtime's EFER, VMSAVE and VMLOAD.
BY_RUNTIME = ("user", "syscall", "sysret", "iret")
FLAGS = ("clgi", "stgi", "cli", "sti", "swapgs", "swapgs", "rdtscp", "rdpid", "sti_cli", "sti_clgi")
HOST_FLAGS = (*FLAGS, "vmmcall", "sti_vmmcall", "stgi", "sti")
#: What waits for a guest.
WAITING: tuple[tuple[Operation, ...], ...] = (
    (("intr",),),
    (("clgi",), ("intr",)),
    (("clgi",), ("intr",), ("sti",)),
    (("clgi",), ("nmi",)),
    (("clgi",), ("sti",), ("nmi",), ("intr",)),
)


def put(name: str, value: int) -> Operation:
    """Store `value` into a field of the VMCB, by its name."""
    row = REGISTERS.get(name)
    offset, bits = (row.vmcb or 0, row.bits) if row else CONTROL[name]
    return ("store", at.linear(at.VMCB) + offset, value & (1 << bits) - 1, bits // 8)
