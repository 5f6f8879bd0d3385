"""SYSCALL, SYSRET, SYSENTER, SYSEXIT and IRET: between kernel and user space, and what becomes of segments.

Rules from bochs-segments and linux-entry-64; IRET's on FS and GS were run on both emulators (emulators-run).
"""

from ..faults import Fault
from ..memory import is_canonical
from ..processor import EFER_LMA, EFER_SCE, RFLAGS_IF, RFLAGS_RF, RFLAGS_VM, Processor
from .intercepts import intercept
from .msr import linear_bits, require_ring0
from .segments import fetch, set_accessed

_FLAT = 0xFFFF_FFFF
_CODE0, _DATA0, _CODE3, _DATA3 = 0xA9B, 0xC93, 0xAFB, 0xCF3
_CODE0_32, _CODE3_32 = 0xC9B, 0xCFB
_NT, _FLAGS = 1 << 14, 0x3F_7FD5
_MASK64 = (1 << 64) - 1


def _flat(name: str, selector: int, attrib: int) -> dict[str, int]:
    return {
        f"{name}.selector": selector & 0xFFFF,
        f"{name}.attrib": attrib,
        f"{name}.limit": _FLAT,
        f"{name}.base": 0,
    }


def _require_sce(p: Processor, what: str) -> None:
    if not p.regs["EFER"] & EFER_SCE:
        raise Fault("#UD", f"{what} while EFER.SCE is clear")


def syscall(p: Processor) -> None:
    """SYSCALL from 64-bit code: to LSTAR at CPL 0, RIP in RCX, RFLAGS in R11, those in SFMASK cleared.

    CS and SS come from STAR[47:32], flat, and no descriptor is read.  FS, GS and their bases stay: whatever
    LSTAR and GS.base hold, the kernel now runs on it.  #UD while EFER.SCE is clear.
    """
    _require_sce(p, "SYSCALL")
    regs = p.regs
    selector = regs["STAR"] >> 32 & 0xFFFC
    flags = regs["RFLAGS"]
    p.update(
        "SYSCALL",
        None,
        regs["LSTAR"],
        {
            "RCX": regs["RIP"],
            "R11": flags & ~RFLAGS_RF,
            "RIP": regs["LSTAR"],
            "RFLAGS": flags & ~regs["SFMASK"] & ~RFLAGS_RF | 2,
            "CPL": 0,
            **_flat("CS", selector, _CODE0),
            **_flat("SS", selector + 8, _DATA0),
        },
    )


def sysret(p: Processor) -> None:
    """SYSRET to 64-bit code: to RCX at CPL 3 with RFLAGS from R11; CS and SS from STAR[63:48], flat.

    #UD while EFER.SCE is clear, #GP(0) outside ring 0.
    """
    _require_sce(p, "SYSRET")
    require_ring0(p, "SYSRET")
    regs = p.regs
    selector = regs["STAR"] >> 48
    p.update(
        "SYSRET",
        None,
        regs["RCX"],
        {
            "RIP": regs["RCX"],
            "RFLAGS": regs["R11"] & _FLAGS & ~RFLAGS_RF | 2,
            "CPL": 3,
            **_flat("CS", selector + 16 | 3, _CODE3),
            **_flat("SS", selector + 8 | 3, _DATA3),
        },
    )


def sysenter(p: Processor) -> None:
    """SYSENTER: to SYSENTER_EIP at CPL 0 on the stack SYSENTER_ESP; IF is cleared.

    CS and SS come from SYSENTER_CS, flat and of 32 bits, and no descriptor is read; where user code was is
    kept nowhere.  #UD in long mode, where AMD has no SYSENTER; #GP(0) for a null SYSENTER_CS.
    """
    selector = _require_sysenter(p, "SYSENTER")
    regs = p.regs
    p.update(
        "SYSENTER",
        None,
        regs["SYSENTER_EIP"],
        {
            "RIP": regs["SYSENTER_EIP"],
            "RSP": regs["SYSENTER_ESP"],
            "RFLAGS": regs["RFLAGS"] & ~(RFLAGS_IF | RFLAGS_RF | RFLAGS_VM),
            "CPL": 0,
            **_flat("CS", selector, _CODE0_32),
            **_flat("SS", selector + 8, _DATA0),
        },
    )


def sysexit(p: Processor) -> None:
    """SYSEXIT to 32-bit code: to EDX at CPL 3 on the stack ECX; CS and SS from SYSENTER_CS, flat.

    #UD in long mode, #GP(0) for a null SYSENTER_CS and outside ring 0.
    """
    selector = _require_sysenter(p, "SYSEXIT")
    require_ring0(p, "SYSEXIT")
    regs = p.regs
    p.update(
        "SYSEXIT",
        None,
        regs["RDX"],
        {
            "RIP": regs["RDX"],
            "RSP": regs["RCX"],
            "CPL": 3,
            **_flat("CS", selector + 16 | 3, _CODE3_32),
            **_flat("SS", selector + 24 | 3, _DATA3),
        },
    )


def _require_sysenter(p: Processor, what: str) -> int:
    if p.regs["EFER"] & EFER_LMA:
        raise Fault("#UD", f"{what} in long mode, where AMD has none")
    selector = p.regs["SYSENTER_CS"] & 0xFFFC
    if not selector:
        raise Fault("#GP", f"{what} while SYSENTER_CS is null", 0)
    return selector


def iret(p: Processor) -> None:
    """IRET: pop RIP, CS, RFLAGS, RSP and SS at RSP; an NMI may come again.

    Outside long mode the words have four bytes, and the last two are there only on the way to an outer ring.

    On the way to an outer ring ES, DS, FS and GS whose DPL lies below it become null; their bases stay.
    #GP(0) for NT, a null CS or a RIP that is not canonical; #GP(selector) and #NP(selector) as the
    descriptors have it, #NP also for SS (emulators-run); #PF where the stack is not mapped.
    """
    if p.intercepts:
        intercept(p, "IRET")
    regs, memory = p.regs, p.memory
    if regs["RFLAGS"] & _NT:
        raise Fault("#GP", "IRET while RFLAGS.NT is set", 0)
    width = 8 if regs["EFER"] & EFER_LMA else 4
    at = [regs["RSP"] + width * n & _MASK64 for n in range(5)]
    rip, cs, rflags = (memory.read(memory.translate(address, width), width) for address in at[:3])
    if width == 8 or cs & 3 > regs["CPL"]:
        rsp, ss = (memory.read(memory.translate(address, width), width) for address in at[3:])
    else:
        rsp, ss = at[3], regs["SS.selector"]
    return_to(p, rip, cs, rflags, rsp, ss)
    p.nmi_masked = False


def return_to(p: Processor, rip: int, cs: int, rflags: int, rsp: int, ss: int) -> None:
    """Go where an IRET's frame says; faults as `iret`."""
    cs, ss = cs & 0xFFFF, ss & 0xFFFF
    regs, rpl = p.regs, cs & 3
    code = _code_segment(p, cs)
    stack = _stack_segment(p, ss, rpl)
    if not is_canonical(rip, linear_bits(p)):
        raise Fault("#GP", f"IRET: RIP {rip:#x} is not canonical", 0)
    new = {"RIP": rip, "RFLAGS": rflags & _FLAGS & ~RFLAGS_VM | 2, "RSP": rsp, "CPL": rpl}
    new |= {f"CS.{part}": value for part, value in code.items()}
    new |= {f"SS.{part}": value for part, value in stack.items()}
    if rpl > regs["CPL"]:
        for name in ("ES", "DS", "FS", "GS"):
            attrib = regs[f"{name}.attrib"]
            if attrib >> 5 & 3 < rpl and attrib & 0x1C != 0x1C:
                new |= {f"{name}.selector": 0, f"{name}.attrib": 0}
    memory = set_accessed(p, cs, code["attrib"])
    if ss > 3:
        memory += set_accessed(p, ss, stack["attrib"])
        new["SS.attrib"] |= 1
    new["CS.attrib"] |= 1
    p.update("IRET", None, rip, new, memory)


def _code_segment(p: Processor, cs: int) -> dict[str, int]:
    if cs < 4:
        raise Fault("#GP", "IRET: CS is null", 0)
    attrib, limit, base = fetch(p, "IRET", cs)
    rpl, dpl = cs & 3, attrib >> 5 & 3
    conforming = attrib & 0xC == 0xC
    if attrib & 0x18 != 0x18 or rpl < p.regs["CPL"] or (dpl > rpl if conforming else dpl != rpl):
        raise Fault("#GP", f"IRET: {cs:#x} selects no code segment of ring {rpl} to return to", cs & ~3)
    if not attrib & 0x80:
        raise Fault("#NP", f"IRET: the code segment of {cs:#x} is not present", cs & ~3)
    return {"selector": cs, "attrib": attrib, "limit": limit, "base": base}


def _stack_segment(p: Processor, ss: int, rpl: int) -> dict[str, int]:
    if ss < 4:
        if rpl == 3:
            raise Fault("#GP", "IRET: SS is null on the way to ring 3", 0)
        return {"selector": ss, "attrib": 0, "limit": 0, "base": 0}
    if ss & 3 != rpl:
        raise Fault("#GP", f"IRET: SS {ss:#x} has another ring than CS, {rpl}", ss & ~3)
    attrib, limit, base = fetch(p, "IRET", ss)
    if attrib & 0x1A != 0x12 or attrib >> 5 & 3 != rpl:
        raise Fault("#GP", f"IRET: {ss:#x} selects no stack segment of ring {rpl}", ss & ~3)
    if not attrib & 0x80:
        raise Fault("#NP", f"IRET: the stack segment of {ss:#x} is not present", ss & ~3)
    return {"selector": ss, "attrib": attrib, "limit": limit, "base": base}
