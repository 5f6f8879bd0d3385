"""Control and debug registers, and the registers that say where GDT and IDT lie.

Rules from bochs-svm and bochs-segments; the intercepts' order from both emulators (emulators-run).
"""

from ..faults import Fault
from ..memory import MAXPHYADDR, is_canonical
from ..processor import CR0_CD, CR0_ET, CR0_NW, CR0_PE, CR0_PG, CR4_LA57, CR4_PAE, EFER_LMA, Processor
from .intercepts import intercept
from .msr import linear_bits, require_ring0

_CONTROL = (0, 2, 3, 4, 8)
_DEBUG = (0, 1, 2, 3, 6, 7)
#: Bits other than PE MP EM TS ET NE WP AM NW CD PG read as zero.
_CR0_BITS = 0xE005_003F
#: CR4 bits that there are: VME to PCE, OSFXSR, OSXMMEXCPT, UMIP, LA57, FSGSBASE, PCIDE, OSXSAVE to PKE.
CR4_BITS = 0x0077_1FFF
#: Bits that read as one and as zero.
_DR6_ONE, _DR6_ZERO = 0xFFFF_0FF0, 0x1000
_DR7_ONE, _DR7_ZERO = 0x400, 0xD000


def mov_from_cr(p: Processor, number: int) -> int:
    """MOV r, CRn: return CR0, CR2, CR3, CR4 or CR8.  #UD for another, #GP(0) outside ring 0."""
    name = _named("CR", number, _CONTROL)
    require_ring0(p, f"MOV r,{name}")
    if p.intercepts:
        intercept(p, "CR_READ", number)
    value = p.regs[name]
    p.record("MOV r,CRn", name, value)
    return value


def mov_to_cr(p: Processor, number: int, value: int) -> None:
    """MOV CRn, r: write CR0, CR2, CR3, CR4 or CR8.

    #UD for another, #GP(0) outside ring 0, for a reserved bit, and for a CR0 or CR4 that would end long mode.
    CR8 is the task priority, four bits; in a guest it is written to the VMCB's V_TPR, too, and with
    V_INTR_MASKING there alone (emulators-run).
    """
    name = _named("CR", number, _CONTROL)
    require_ring0(p, f"MOV {name},r")
    why = _refused(p, number, value)
    if p.intercepts and not (why and number in (0, 4) and p.options.cr_value_before_intercept):
        intercept(p, "CR_WRITE", number)
    if why:
        raise Fault("#GP", f"MOV {name},r of {value:#x}: {why}", 0)
    if number == 0:
        value = value & _CR0_BITS | CR0_ET
    elif number == 8 and p.control:
        p.control = p.control._replace(int_ctl=p.control.int_ctl & ~0xF | value)
    p.set("MOV CRn,r", name, value, name, value)


def _refused(p: Processor, number: int, value: int) -> str | None:
    long_mode = p.regs["EFER"] & EFER_LMA
    if number == 8:
        return "bits 63 to 4 are reserved" if value >> 4 else None
    if number == 3:
        return "it has bits beyond a physical address" if value >> MAXPHYADDR else None
    if number == 0:
        if value >> 32:
            return "bits 63 to 32 are reserved"
        if value & CR0_PG and not value & CR0_PE:
            return "PG without PE"
        if value & CR0_NW and not value & CR0_CD:
            return "NW without CD"
        return "64-bit code cannot switch paging off" if long_mode and not value & CR0_PG else None
    if number == 4:
        allowed = CR4_BITS if p.features.la57 else CR4_BITS & ~CR4_LA57
        if value & ~allowed:
            return f"{value & ~allowed:#x} are reserved bits"
        if long_mode and (value ^ p.regs["CR4"]) & CR4_LA57:
            return "LA57 cannot change in long mode"
        return "PAE cannot be cleared in long mode" if long_mode and not value & CR4_PAE else None
    return None


def mov_from_dr(p: Processor, number: int) -> int:
    """MOV r, DRn: return DR0 to DR3, DR6 or DR7.  #GP(0) outside ring 0."""
    name = _named("DR", number, _DEBUG)
    require_ring0(p, f"MOV r,{name}")
    if p.intercepts:
        intercept(p, "DR_READ", number)
    value = p.regs[name]
    p.record("MOV r,DRn", name, value)
    return value


def mov_to_dr(p: Processor, number: int, value: int) -> None:
    """MOV DRn, r: write DR0 to DR3, DR6 or DR7.

    #GP(0) outside ring 0, and for bits 63 to 32 of DR6 and DR7; their reserved bits read as they always do.
    """
    name = _named("DR", number, _DEBUG)
    require_ring0(p, f"MOV {name},r")
    if p.intercepts:
        intercept(p, "DR_WRITE", number)
    if number > 3 and value >> 32:
        raise Fault("#GP", f"MOV {name},r of {value:#x}: bits 63 to 32 are reserved", 0)
    if number == 6:
        value = value & ~_DR6_ZERO | _DR6_ONE
    elif number == 7:
        value = value & ~_DR7_ZERO | _DR7_ONE
    p.set("MOV DRn,r", name, value, name, value)


def _named(kind: str, number: int, numbers: tuple[int, ...]) -> str:
    if number not in numbers:
        raise Fault("#UD", f"there is no {kind}{number}")
    return f"{kind}{number}"


def lgdt(p: Processor, limit: int, base: int) -> None:
    """LGDT: say where the GDT lies: `limit` (16 bits) and `base`.

    #GP(0) outside ring 0 and for a base that is not canonical.
    """
    _load_table(p, "LGDT", limit, base)


def lidt(p: Processor, limit: int, base: int) -> None:
    """LIDT: say where the IDT lies.  As LGDT."""
    _load_table(p, "LIDT", limit, base)


def sgdt(p: Processor) -> tuple[int, int]:
    """SGDT: return limit and base of the GDT."""
    return _store_table(p, "SGDT")


def sidt(p: Processor) -> tuple[int, int]:
    """SIDT: return limit and base of the IDT."""
    return _store_table(p, "SIDT")


def _load_table(p: Processor, what: str, limit: int, base: int) -> None:
    require_ring0(p, what)
    if p.intercepts:
        intercept(p, what)
    if not is_canonical(base, linear_bits(p)):
        raise Fault("#GP", f"{what}: the base {base:#x} is not canonical", 0)
    table = f"{what[1:]}R"
    p.update(what, None, base, {f"{table}.limit": limit & 0xFFFF, f"{table}.base": base})


def _store_table(p: Processor, what: str) -> tuple[int, int]:
    if p.intercepts:
        intercept(p, what)
    table = f"{what[1:]}R"
    limit, base = p.regs[f"{table}.limit"] & 0xFFFF, p.regs[f"{table}.base"]
    p.record(what, None, base)
    return limit, base
