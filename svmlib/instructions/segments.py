"""Segment registers, LDTR and TR: loads that read descriptors, base instructions that do not, SWAPGS.

Rules from bochs-segments; the null selector's from xen-svm and data of our own (emulators-run).
"""

from functools import lru_cache

from ..faults import Fault
from ..memory import is_canonical
from ..processor import CR4_FRED, CR4_FSGSBASE, EFER_LMA, Processor
from .intercepts import intercept
from .msr import linear_bits, require_ring0

_LDT_TYPE = 0x2
_TSS_AVAILABLE = 0x9


def swapgs(p: Processor) -> None:
    """SWAPGS: exchange GS.base and KernelGSBase.

    #UD outside 64-bit mode and while CR4.FRED is set, #GP(0) outside ring 0.
    """
    regs = p.regs
    if not regs["EFER"] & EFER_LMA:
        raise Fault("#UD", "SWAPGS outside 64-bit mode")
    if regs["CR4"] & CR4_FRED:
        raise Fault("#UD", "SWAPGS while CR4.FRED is set")
    require_ring0(p, "SWAPGS")
    p.update("SWAPGS", None, None, {"GS.base": regs["KernelGSBase"], "KernelGSBase": regs["GS.base"]})


def _read_base(p: Processor, what: str, name: str) -> int:
    _require_fsgsbase(p, what)
    value = p.regs[name]
    p.record(what, None, value)
    return value


def _write_base(p: Processor, what: str, name: str, value: int) -> None:
    _require_fsgsbase(p, what)
    if not isinstance(value, int) or value >> 64 or not is_canonical(value, linear_bits(p)):
        shown = f"{value:#x}" if isinstance(value, int) else repr(value)
        raise Fault(
            "#GP", f"{what}: {shown} is not canonical (bits 63 to {linear_bits(p) - 1} must be alike)", 0
        )
    p.set(what, None, value, name, value)


def _require_fsgsbase(p: Processor, what: str) -> None:
    if not p.regs["CR4"] & CR4_FSGSBASE or not p.features.fsgsbase:
        raise Fault("#UD", f"{what} while CR4.FSGSBASE is clear; write the MSR instead")
    if not p.regs["EFER"] & EFER_LMA:
        raise Fault("#UD", f"{what} outside 64-bit mode")


def rdfsbase(p: Processor) -> int:
    """RDFSBASE: return FS.base.  #UD while CR4.FSGSBASE is clear; any CPL may."""
    return _read_base(p, "RDFSBASE", "FS.base")


def rdgsbase(p: Processor) -> int:
    """RDGSBASE: return GS.base.  Faults as RDFSBASE."""
    return _read_base(p, "RDGSBASE", "GS.base")


def wrfsbase(p: Processor, value: int) -> None:
    """WRFSBASE: write FS.base.  #UD while CR4.FSGSBASE is clear, #GP(0) for a value that is not canonical."""
    _write_base(p, "WRFSBASE", "FS.base", value)


def wrgsbase(p: Processor, value: int) -> None:
    """WRGSBASE: write GS.base.  Faults as WRFSBASE."""
    _write_base(p, "WRGSBASE", "GS.base", value)


_SEGMENTS = ("ES", "CS", "SS", "DS", "FS", "GS")


def mov_from_sreg(p: Processor, register: str) -> int:
    """MOV r, Sreg: return the selector; the base behind it cannot be learned this way."""
    value = p.regs[_segment(register) + ".selector"]
    p.record("MOV r,Sreg", register, value)
    return value


def mov_to_sreg(p: Processor, register: str, selector: int) -> None:
    """MOV Sreg, r: load the selector and, from its descriptor, attributes, limit and a 32-bit base.

    A null selector clears all three where the CPU has NullSelectorClearsBase, and leaves base and limit of
    FS and GS elsewhere; SS takes one below CPL 3 alone, with RPL equal to CPL.  #GP(selector) for one outside
    its table, of no data segment, or whose DPL is below CPL or RPL; #NP(selector), #SS(selector) for SS, for
    one that is not present.  #UD for CS.  The descriptor's accessed bit is set.  A MOV to SS holds interrupts
    off for one instruction.
    """
    name = _segment(register)
    if name == "CS":
        raise Fault("#UD", "MOV CS: the code segment is loaded by far transfers")
    selector = _selector(f"MOV {name}", selector)
    if selector < 4:
        _null(p, name, selector)
        return
    attrib, limit, base = fetch(p, f"MOV {name}", selector)
    if name == "SS":
        _check_stack(p, selector, attrib)
    else:
        _check_data(p, name, selector, attrib)
    memory = set_accessed(p, selector, attrib)
    parts = {
        f"{name}.selector": selector,
        f"{name}.attrib": attrib | 1,
        f"{name}.limit": limit,
        f"{name}.base": base & 0xFFFF_FFFF,
    }
    p.update("MOV Sreg,r", name, selector, parts, memory)
    if name == "SS":
        p.shadow = 1


def _null(p: Processor, name: str, selector: int) -> None:
    cpl = p.regs["CPL"]
    parts = {f"{name}.selector": selector, f"{name}.attrib": 0}
    if name == "SS":
        if cpl == 3 or selector & 3 != cpl:
            raise Fault("#GP", f"MOV SS: the null selector {selector} at CPL {cpl}", 0)
        p.shadow = 1
    if p.features.null_clears_base or name not in ("FS", "GS"):
        parts |= {f"{name}.limit": 0, f"{name}.base": 0}
    p.update("MOV Sreg,r", name, selector, parts)


def _check_data(p: Processor, name: str, selector: int, attrib: int) -> None:
    if not attrib & 0x10 or attrib & 0xA == 0x8:
        raise Fault("#GP", f"MOV {name}: {selector:#x} selects no data segment", selector & ~3)
    dpl, conforming = attrib >> 5 & 3, attrib & 0xC == 0xC
    if not conforming and max(p.regs["CPL"], selector & 3) > dpl:
        why = f"MOV {name}: {selector:#x} at CPL {p.regs['CPL']}, and the segment's DPL is {dpl}"
        raise Fault("#GP", why, selector & ~3)
    if not attrib & 0x80:
        raise Fault("#NP", f"MOV {name}: the segment of {selector:#x} is not present", selector & ~3)


def _check_stack(p: Processor, selector: int, attrib: int) -> None:
    cpl, dpl = p.regs["CPL"], attrib >> 5 & 3
    if attrib & 0x1A != 0x12:
        raise Fault("#GP", f"MOV SS: {selector:#x} selects no writable data segment", selector & ~3)
    if not cpl == dpl == selector & 3:
        why = f"MOV SS: {selector:#x} at CPL {cpl}, and the segment's DPL is {dpl}; all three must be alike"
        raise Fault("#GP", why, selector & ~3)
    if not attrib & 0x80:
        raise Fault("#SS", f"MOV SS: the segment of {selector:#x} is not present", selector & ~3)


def set_accessed(p: Processor, selector: int, attrib: int) -> tuple[tuple[int, bytes, bytes], ...]:
    """Set the accessed bit in the descriptor in memory, where it is clear."""
    if attrib & 1:
        return ()
    table = "LDTR" if selector & 4 else "GDTR"
    pa = p.memory.translate(p.regs[f"{table}.base"] + (selector & ~7) + 5, 1, 2)
    old = p.memory.write(pa, attrib & 0xFF | 1, 1)
    return ((pa, old, bytes([attrib & 0xFF | 1])),)


def _selector(what: str, selector: int) -> int:
    if not isinstance(selector, int):
        raise TypeError(f"{what}: {selector!r} is not a selector, a number of 16 bits")
    return selector & 0xFFFF


def _segment(register: str) -> str:
    if register not in _SEGMENTS:
        raise KeyError(f"no segment register {register!r}; there are {', '.join(_SEGMENTS)}")
    return register


def lsl(p: Processor, selector: int) -> int:
    """LSL: return the limit of a segment, in bytes; 0 where the selector names none that may be seen.

    Where it does, the machine sets ZF, which stands for itself here: no segment that is used so has limit 0
    but CPU 0's, and that is its number (linux-entry-64).
    """
    selector = _selector("LSL", selector)
    try:
        attrib, limit, _ = fetch(p, "LSL", selector) if selector >= 4 else (0, 0, 0)
    except Fault as fault:
        if fault.vector == "#PF":
            raise
        attrib, limit = 0, 0
    if not attrib & 0x10 or max(p.regs["CPL"], selector & 3) > attrib >> 5 & 3:
        limit = 0
    p.record("LSL", selector, limit)
    return limit


def sldt(p: Processor) -> int:
    """SLDT: return LDTR's selector."""
    if p.intercepts:
        intercept(p, "SLDT")
    value = p.regs["LDTR.selector"]
    p.record("SLDT", None, value)
    return value


def lldt(p: Processor, selector: int) -> None:
    """LLDT: load LDTR from the GDT; a null selector makes it unusable.

    #GP(0) outside ring 0; #GP(selector) for one in the LDT, beyond the GDT or of no LDT; #NP(selector) if not
    present.
    """
    require_ring0(p, "LLDT")
    if p.intercepts:
        intercept(p, "LLDT")
    selector = _selector("LLDT", selector)
    if selector < 4:
        p.update("LLDT", None, selector, _system("LDTR", selector, 0, 0, 0))
        return
    attrib, limit, base = _system_descriptor(p, "LLDT", selector, "LDT", (_LDT_TYPE,))
    p.update("LLDT", None, selector, _system("LDTR", selector, attrib, limit, base))


def str_(p: Processor) -> int:
    """STR: return TR's selector."""
    if p.intercepts:
        intercept(p, "STR")
    value = p.regs["TR.selector"]
    p.record("STR", None, value)
    return value


def ltr(p: Processor, selector: int) -> None:
    """LTR: load TR from the GDT and set the descriptor's busy bit there.

    #GP(0) outside ring 0 and for a null selector; #GP(selector) for one in the LDT, beyond the GDT, or whose
    TSS is busy already; #NP(selector) if not present.
    """
    require_ring0(p, "LTR")
    if p.intercepts:
        intercept(p, "LTR")
    selector = _selector("LTR", selector)
    if selector < 4:
        raise Fault("#GP", "LTR: the selector is null", 0)
    why = "available TSS (a busy one must be made available in the GDT first)"
    attrib, limit, base = _system_descriptor(p, "LTR", selector, why, (_TSS_AVAILABLE,))
    address = p.memory.translate(p.regs["GDTR.base"] + (selector & ~7) + 5, 1)
    stored = p.memory.write(address, attrib & 0xFF | 0x2, 1)
    memory = ((address, stored, bytes([attrib & 0xFF | 0x2])),)
    p.update("LTR", None, selector, _system("TR", selector, attrib | 0x2, limit, base), memory)


_PARTS = {
    name: tuple(f"{name}.{part}" for part in ("selector", "attrib", "limit", "base"))
    for name in ("LDTR", "TR")
}


def _system(name: str, *parts: int) -> dict[str, int]:
    return dict(zip(_PARTS[name], parts, strict=True))


def _system_descriptor(
    p: Processor, what: str, selector: int, wanted: str, types: tuple[int, ...]
) -> tuple[int, ...]:
    if selector & 4:
        raise Fault(
            "#GP",
            f"{what}: {selector:#x} selects from the LDT, a system segment lies in the GDT",
            selector & ~3,
        )
    long_mode = p.regs["EFER"] & EFER_LMA
    attrib, limit, base = fetch(p, what, selector, 16 if long_mode else 8)
    if attrib & 0x10 or attrib & 0xF not in types:
        raise Fault("#GP", f"{what}: {selector:#x} selects no {wanted}", selector & ~3)
    if not attrib & 0x80:
        raise Fault("#NP", f"{what}: the segment of {selector:#x} is not present", selector & ~3)
    if long_mode:
        high = p.memory.read(p.memory.translate(p.regs["GDTR.base"] + (selector & ~7) + 8, 4), 4)
        base |= high << 32
    if not is_canonical(base, linear_bits(p)):
        raise Fault("#GP", f"{what}: the base {base:#x} of {selector:#x} is not canonical", selector & ~3)
    return attrib, limit, base


def fetch(p: Processor, what: str, selector: int, size: int = 8) -> tuple[int, int, int]:
    """Return (attrib, limit in bytes, 32-bit base) of the descriptor `selector` names, in GDT or LDT."""
    regs = p.regs
    table = "LDTR" if selector & 4 else "GDTR"
    usable = table == "GDTR" or regs["LDTR.attrib"] & 0x80
    if not usable or (selector & ~7) + size - 1 > regs[f"{table}.limit"]:
        raise Fault("#GP", f"{what}: {selector:#x} lies outside the {table[:3]}", selector & ~3)
    return _unpacked(p.memory.read(p.memory.translate(regs[f"{table}.base"] + (selector & ~7))))


@lru_cache(maxsize=64)
def _unpacked(raw: int) -> tuple[int, int, int]:
    attrib = raw >> 40 & 0xFF | raw >> 44 & 0xF00
    limit = raw & 0xFFFF | raw >> 32 & 0xF0000
    if attrib & 0x800:
        limit = limit << 12 | 0xFFF
    return attrib, limit, raw >> 16 & 0xFFFFFF | raw >> 32 & 0xFF000000


def descriptor(attrib: int, limit: int, base: int) -> int:
    """Pack the low eight bytes of a descriptor: `attrib` as in the VMCB, `limit` in bytes, `base`."""
    if attrib & 0x800:
        limit >>= 12
    return (
        limit & 0xFFFF
        | (base & 0xFFFFFF) << 16
        | (attrib & 0xFF) << 40
        | (limit >> 16 & 0xF) << 48
        | (attrib >> 8 & 0xF) << 52
        | (base >> 24 & 0xFF) << 56
    )
