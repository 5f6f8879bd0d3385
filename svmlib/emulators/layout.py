"""The machine that model and emulators share: addresses, descriptor tables, registers at the start."""

from struct import pack

from ..instructions.segments import descriptor
from ..memory import DIRECT_MAP
from ..registers import REGISTERS
from ..vmcb import CONTROL

RAM = 64 << 20

#: The image is copied from ROM to this place; everything up to PROGRAMS has a fixed place in it.
IMAGE = 0x20_0000
PML4, PDPT, DIRECTORY, PDPT_HIGH, DIRECTORY_HIGH = (IMAGE + page * 0x1000 for page in range(5))
#: GDT and LDT, a second GDT and LDT to load instead, and both as they were at the start.
TABLES, TABLES_OTHER, TABLES_FRESH = (IMAGE + 0x5000 + part for part in (0, 0x400, 0x800))
IDT = IMAGE + 0x6000
TSS, TSS_OTHER = IMAGE + 0x7000, IMAGE + 0x7100
FRESH = IMAGE + 0x8000
#: The four pages programs work on, in this order; between programs they are copied from FRESH anew.
HOST, GUEST, SPARE, VMCB = POOL = tuple(IMAGE + 0xC000 + 0x1000 * page for page in range(4))
HSAVE, SCRATCH, USER_A, USER_B, START = (IMAGE + 0x1_0000 + 0x1000 * page for page in range(5))
STACK, GUEST_STACK, FAULT_STACK, USER_STACK = (IMAGE + 0x1_6000 + 0x400 * n for n in range(4))
CODE = IMAGE + 0x1_8000
#: The nested page table's root: guest-physical addresses are the machine's, up to the end of RAM.
NESTED_PML4 = IMAGE + 0x1_B000
NESTED_PDPT = IMAGE + 0x1_C000
#: A second IDT, the same as the first.
IDT_OTHER = IMAGE + 0x1_D000
PROGRAMS = IMAGE + 0x1_E000
#: Where the log begins; the first 16 bytes tell that the run came to its end.
LOG = 0x80_0000

#: The permission maps of a fresh VMCB, in RAM that nothing else uses; no bit is set at the start.
MSRPM, IOPM = 0x1F_0000, 0x1F_4000
#: Where MSRPM has the bits of the MSRs that programs use: (first byte, one past the last).
MSRPM_PARTS = ((0x058, 0x060), (0x098, 0x0A0), (0x820, 0x848), (0x1040, 0x1048))

#: The parts of a pool page that are reset and looked at: control area, save area.
CONTROL_BYTES = 0x100
#: What is looked at of the control area: INT_CTL to EXITINTINFO, EVENTINJ.
CONTROL_PARTS = ((0x60, 0x90), (0xA8, 0xB0))
SAVE_AREA, SAVE_END = 0x400, 0x680

LOCAL_APIC = 0xFEE0_0000
#: Where the local APIC is mapped; all else above the direct map is unmapped.
APIC_LINEAR = 0xFFFF_FFFF_FEE0_0000

#: DIRECT_MAP's entry in the PML4.
DIRECT_INDEX = DIRECT_MAP >> 39 & 511

CODE_SELECTOR, STACK_SELECTOR, USER_CODE, USER_DATA = 0x08, 0x10, 0x1B, 0x23
TSS_SELECTOR, LDT_SELECTOR = 0x28, 0x48

_NOT_CANONICAL = 0x1234_8000_0000_0000


def linear(pa: int) -> int:
    """The linear address of physical address `pa` in the direct map."""
    return DIRECT_MAP + pa


def _pair(attrib: int, limit: int, base: int) -> bytes:
    return pack("<QQ", descriptor(attrib, limit, base & 0xFFFF_FFFF), base >> 32)


def _single(attrib: int, limit: int, base: int = 0) -> bytes:
    return pack("<Q", descriptor(attrib, limit, base))


_FLAT = 0xFFFF_FFFF
#: The GDT as (selector, what it is, bytes): what the runtime needs, then one of each kind that may be met.
DESCRIPTORS = (
    (0x00, "null", bytes(8)),
    (0x08, "64-bit code, ring 0", _single(0xA9B, _FLAT)),
    (0x10, "data, ring 0", _single(0xC93, _FLAT)),
    (0x18, "64-bit code, ring 3", _single(0xAFB, _FLAT)),
    (0x20, "data, ring 3", _single(0xCF3, _FLAT)),
    (0x28, "TSS, busy: TR's at the start", _pair(0x08B, 0x67, linear(TSS))),
    (0x38, "TSS, available", _pair(0x089, 0x67, linear(TSS_OTHER))),
    (0x48, "LDT: LDTR's at the start", _pair(0x082, 0x17, linear(TABLES + 0x200))),
    (0x58, "LDT, not present", _pair(0x002, 0x17, linear(TABLES + 0x200))),
    (0x68, "data, ring 0, a base and a small limit", _single(0x093, 0xFFF, 0x1234_5678)),
    (0x70, "data, not present", _single(0x013, 0xFFF)),
    (0x78, "data, ring 3, a base above 2 GiB", _single(0xCF3, _FLAT, 0xFEDC_BA98)),
    (0x80, "code that cannot be read", _single(0xA99, _FLAT)),
    (0x88, "conforming code, readable", _single(0xA9F, _FLAT)),
    (0x90, "data, ring 3, never accessed", _single(0xCF2, _FLAT, 0x55_0000)),
    (0x98, "TSS, not present", _pair(0x009, 0x67, linear(TSS_OTHER))),
    (0xA8, "TSS, base not canonical", _pair(0x089, 0x67, _NOT_CANONICAL)),
    (0xB8, "LDT, base not canonical", _pair(0x082, 0x17, _NOT_CANONICAL)),
    (0xC8, "data, ring 3, readable code", _single(0xAFB, _FLAT)),
    (0xD0, "TSS whose upper half lies beyond the limit", _single(0x089, 0x67, TSS_OTHER)),
)
GDT_LIMIT = 0xD7
LDT_DESCRIPTORS = _single(0x093, 0xFFF, 0x1111_1111) + _single(0xCF3, _FLAT, 0x2222_2222) + _single(0x013, 1)
TABLES_BYTES = 0x218
#: Bytes of the second GDT that are looked at.
OTHER_BYTES = GDT_LIMIT + 1
#: Where the runtime wants SYSCALL to go.
SYSCALL_ENTRY = linear(CODE) + 0x58
IDT_LIMIT = 0x82 * 16 - 1

CR0, CR4, EFER, EFER_WRITTEN = 0x8001_0033, 0x1_0220, 0x1D01, 0x1901
DR6, DR7 = 0xFFFF_0FF0, 0x400


def _segment(name: str, selector: int, attrib: int, limit: int, base: int) -> dict[str, int]:
    return {
        f"{name}.selector": selector,
        f"{name}.attrib": attrib,
        f"{name}.limit": limit,
        f"{name}.base": base,
    }


#: The host's registers when a program begins; all others are zero.
REGISTERS_AT_START: dict[str, int] = (
    dict.fromkeys(REGISTERS, 0)
    | _segment("CS", CODE_SELECTOR, 0xA9B, _FLAT, 0)
    | _segment("SS", STACK_SELECTOR, 0xC93, _FLAT, 0)
    | _segment("DS", USER_DATA, 0xCF3, _FLAT, 0)
    | _segment("ES", USER_DATA, 0xCF3, _FLAT, 0)
    | _segment("FS", USER_DATA, 0xCF3, _FLAT, 0x7F00_1111_0000)
    | _segment("GS", 0, 0, 0, linear(HOST))
    | _segment("TR", TSS_SELECTOR, 0x08B, 0x67, linear(TSS))
    | _segment("LDTR", LDT_SELECTOR, 0x082, 0x17, linear(TABLES + 0x200))
    | {
        "GDTR.limit": GDT_LIMIT,
        "GDTR.base": linear(TABLES),
        "IDTR.limit": IDT_LIMIT,
        "IDTR.base": linear(IDT),
        "CR0": CR0,
        "CR3": PML4,
        "CR4": CR4,
        "EFER": EFER,
        "DR6": DR6,
        "DR7": DR7,
        "RFLAGS": 2,
        "STAR": 0x0023_0010_0000_0000,
        "LSTAR": SYSCALL_ENTRY,
        "CSTAR": linear(CODE) + 0x222,
        "SFMASK": 0x4_7700,
        "KernelGSBase": 0x7F00_2222_0000,
        "SYSENTER_CS": 0x10,
        "SYSENTER_ESP": 0x3333_0000,
        "SYSENTER_EIP": 0x4444_0000,
        "VM_HSAVE_PA": HSAVE,
        "PAT": 0x0007_0406_0007_0406,
    }
)


def page(registers: dict[str, int], control: dict[str, int] | None = None) -> bytes:
    """A VMCB page that holds `registers` and the fields of the control area."""
    image = bytearray(0x1000)
    for name, value in registers.items():
        row = REGISTERS[name]
        if row.vmcb is not None:
            image[row.vmcb : row.vmcb + row.bits // 8] = value.to_bytes(row.bits // 8, "little")
    for name, value in (control or {}).items():
        offset, bits = CONTROL[name]
        image[offset : offset + bits // 8] = value.to_bytes(bits // 8, "little")
    return bytes(image)


#: What the guest begins with: as the host, so that it can run the same interpreter; with a CR2 of its own.
GUEST_AT_START = {
    name: value
    for name, value in REGISTERS_AT_START.items()
    if REGISTERS[name].carrier == "VMRUN" and REGISTERS[name].vmcb is not None
} | {"CR2": 0x5A5_A000}

#: VMRUN and VMMCALL intercepted.  Nested paging, because on QEMU VMSAVE and VMLOAD in a guest without it exit
#: although nobody intercepts them.
_CONTROL = {
    "INTERCEPT_WORD4": 0b11,
    "IOPM_BASE": IOPM,
    "MSRPM_BASE": MSRPM,
    "ASID": 1,
    "MISC_CTL": 1,
    "NESTED_CR3": NESTED_PML4,
}


#: The pool at the start, by page.
FRESH_PAGES = {
    HOST: bytes(0x1000),
    GUEST: bytes(0x1000),
    SPARE: bytes(0x1000),
    VMCB: page(GUEST_AT_START, _CONTROL),
}


def tables() -> bytes:
    """The page of TABLES, TABLES_OTHER and TABLES_FRESH: each a GDT and, 0x200 bytes on, an LDT."""
    part = bytearray(0x400)
    for selector, _, entry in DESCRIPTORS:
        part[selector : selector + len(entry)] = entry
    part[0x200 : 0x200 + len(LDT_DESCRIPTORS)] = LDT_DESCRIPTORS
    return bytes(part) * 3 + bytes(0x400)
