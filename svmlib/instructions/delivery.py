"""How an event or a fault gets to its handler: the gate in the IDT, the stack that the TSS names, the frame.

Rules from bochs-segments and linux-entry-64.  In long mode a gate may name one of the TSS's seven interrupt
stacks (IST), which is then taken from any ring; without one the stack changes only on the way from an outer
ring, to RSP0.  Outside long mode there is no IST, and the frame from the same ring has three words.  Task
gates, which 32-bit kernels use for #DF, are not modelled.
"""

from ..faults import Fault
from ..processor import EFER_LMA, RFLAGS_IF, RFLAGS_RF, RFLAGS_TF, RFLAGS_VM, Processor
from .system import TSS_IST1

#: Offset in a TSS of the stack pointer for ring 0, in both formats; SS0 follows it in the 32-bit one.
TSS_RSP0 = 0x4
_NT = 1 << 14
_FLAT = 0xFFFF_FFFF
_CODE, _CODE_32, _DATA = 0xA9B, 0xC9B, 0xC93
_PRESENT = 1 << 7
_MASK64 = (1 << 64) - 1


def gate(offset: int, selector: int, ist: int = 0) -> tuple[int, int]:
    """Return the two words of a 64-bit interrupt gate; the first alone is a 32-bit one."""
    low = offset & 0xFFFF | (selector & 0xFFFF) << 16 | ist << 32 | 0x8E << 40 | (offset >> 16 & 0xFFFF) << 48
    return low, offset >> 32


def deliver(p: Processor, event: str, vector: int, error_code: int | None = None) -> int:
    """Deliver `event` through the gate of `vector`; return the stack's top, before the frame was pushed.

    CPL becomes 0, CS the gate's selector, RIP its offset; IF, TF, NT, RF and VM are cleared.  What faults
    here (#PF for an IDT, TSS or stack that is not mapped, #TS for a TSS too short, #GP for a gate that is
    none) is for the caller to make a #DF of.
    """
    regs, memory = p.regs, p.memory
    wide = bool(regs["EFER"] & EFER_LMA)
    offset, selector, ist = _gate(p, vector, wide)
    outer = regs["CPL"] > 0
    top = _stack(p, ist, outer, wide)
    words = [regs["RFLAGS"], regs["CS.selector"], regs["RIP"]]
    if outer or wide:
        words = [regs["SS.selector"], regs["RSP"], *words]
    if error_code is not None:
        words.append(error_code)
    width = 8 if wide else 4
    start = ((top & ~0xF) if wide else top) - width * len(words) & _MASK64
    frame = b"".join((word & ((1 << 8 * width) - 1)).to_bytes(width, "little") for word in reversed(words))
    pa = memory.translate(start, len(frame), 2)
    old = memory.write(pa, int.from_bytes(frame, "little"), len(frame))
    new = {"RSP": start, "RIP": offset, "CPL": 0}
    new["RFLAGS"] = regs["RFLAGS"] & ~(RFLAGS_IF | RFLAGS_TF | _NT | RFLAGS_RF | RFLAGS_VM)
    new |= _code(selector, wide)
    if outer:
        new |= _stack_segment(p, wide)
    p.update(event, None, top, new, ((pa, old, frame),))
    return top


def _gate(p: Processor, vector: int, wide: bool) -> tuple[int, int, int]:
    size = 16 if wide else 8
    if vector * size + size - 1 > p.regs["IDTR.limit"]:
        raise Fault("#GP", f"vector {vector} lies outside the IDT", vector * 8 + 2)
    at = p.regs["IDTR.base"] + vector * size & _MASK64
    low = p.memory.read(p.memory.translate(at))
    high = p.memory.read(p.memory.translate(at + 8 & _MASK64)) if wide else 0
    if not low >> 40 & _PRESENT:
        raise Fault("#NP", f"the gate of vector {vector} is not present", vector * 8 + 2)
    offset = low & 0xFFFF | low >> 32 & 0xFFFF_0000 | (high & 0xFFFF_FFFF) << 32
    return offset, low >> 16 & 0xFFFF, low >> 32 & 7 if wide else 0


def _stack(p: Processor, ist: int, outer: bool, wide: bool) -> int:
    """Return the stack pointer to push on: an IST, RSP0 from an outer ring, else the one in use."""
    if not ist and not outer:
        return p.regs["RSP"]
    at, name = (TSS_IST1 + 8 * (ist - 1), f"IST{ist}") if ist else (TSS_RSP0, "RSP0")
    width = 8 if wide else 4
    if p.regs["TR.limit"] < at + width - 1:
        why = f"TR's limit {p.regs['TR.limit']:#x} ends before {name}"
        raise Fault("#TS", why, p.regs["TR.selector"] & ~3)
    mask = _MASK64 if wide else _FLAT
    return p.memory.read(p.memory.translate(p.regs["TR.base"] + at & mask, width), width)


def _code(selector: int, wide: bool) -> dict[str, int]:
    return {
        "CS.selector": selector & ~3,
        "CS.attrib": _CODE if wide else _CODE_32,
        "CS.limit": _FLAT,
        "CS.base": 0,
    }


def _stack_segment(p: Processor, wide: bool) -> dict[str, int]:
    """SS for the inner ring: null in long mode, SS0 of the TSS in 32-bit mode."""
    if wide:
        return {"SS.selector": 0, "SS.attrib": 0, "SS.limit": 0, "SS.base": 0}
    at = p.regs["TR.base"] + TSS_RSP0 + 4 & _FLAT
    selector = p.memory.read(p.memory.translate(at, 2), 2)
    return {"SS.selector": selector, "SS.attrib": _DATA, "SS.limit": _FLAT, "SS.base": 0}
