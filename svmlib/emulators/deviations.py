"""Where an emulator is known to differ from the model: rules of its own, a probe that shows them, and a row.

The rows are data/deviations.csv: what the emulator does, what the model does, and why we think so.  A rule
wraps the function of an operation; `profile("qemu72")` is the model with all rules of that emulator.

The module is long because the deviations are many; each is a few lines, and they stand in the table's order.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

from ..faults import Fault
from ..instructions.msr import require_ring0
from ..instructions.svm import VMEXIT_INVALID, VMRUN_SET, illegal
from ..memory import canonical, is_canonical
from ..processor import CR0_CD, CR0_NW, CR4_FSGSBASE, CR4_PAE
from ..registers import BY_MSR, MSR
from ..vmcb import CONTROL, Vmcb
from . import layout as at
from .programs import Program
from .reference import FUNCTIONS, Function, Machine, exitcode

#: (machine, the function without this rule, operands) -> what the operation gives.
Rule = Callable[..., Any]


class Deviation(NamedTuple):
    """The rules of an emulator's that make one row, by operation, and a program that shows them."""

    name: str
    engine: str
    rules: Mapping[str, Rule]
    probe: Program


_BEYOND = 0x1234_8000_0000_0000
_SYSENTER = (MSR.SYSENTER_ESP, MSR.SYSENTER_EIP)
_MASK64 = (1 << 64) - 1
_EXIT = CONTROL["EXITCODE"][0]


def _raw_address(p: Machine, go_on: Function, msr: int, value: int) -> None:
    row = BY_MSR.get(msr)
    if row is None or row.write != "canonical" or p.regs["CPL"]:
        go_on(p, msr, value)
    else:
        p.regs[row.name] = value


def _sign_extended(p: Machine, go_on: Function) -> None:
    """The way to CPL 3 and back is a VMSAVE and a VMLOAD, which brings such bases into form."""
    for name in ("FS.base", "GS.base", "LDTR.base", "TR.base", "KernelGSBase"):
        p.regs[name] = canonical(p.regs[name])
    go_on(p)


def _raw_sysenter(p: Machine, go_on: Function, msr: int, value: int) -> None:
    go_on(p, msr, value)
    if msr in _SYSENTER:
        p.regs[BY_MSR[msr].name] = value


def _canonical_sysenter(p: Machine, go_on: Function, msr: int, value: int) -> None:
    if msr in _SYSENTER and not is_canonical(value):
        msr = 0  # there is no such MSR: #GP(0)
    go_on(p, msr, value)
    if msr in _SYSENTER:
        p.regs[BY_MSR[msr].name] = value


def _sysenter_cs(p: Machine, go_on: Function, msr: int, value: int) -> None:
    go_on(p, msr, value)
    if msr == MSR.SYSENTER_CS:
        p.regs["SYSENTER_CS"] = value & 0xFFFF


def _all_64_bits(p: Machine, go_on: Function, msr: int, value: int) -> None:
    go_on(p, msr, value)
    if msr in (MSR.SFMASK, MSR.TSC_AUX):
        p.regs[BY_MSR[msr].name] = value


def _unknown_msr(p: Machine, go_on: Function, msr: int, *value: int) -> int | None:
    if msr not in BY_MSR:
        require_ring0(p, "an MSR")
        return 0
    result: int | None = go_on(p, msr, *value)
    return result


def _efer_bits(p: Machine, go_on: Function, msr: int, value: int) -> None:
    go_on(p, msr, value & at.EFER if msr == MSR.EFER else value)


def _raw_base(name: str) -> Rule:
    def rule(p: Machine, go_on: Function, value: int) -> None:
        if is_canonical(value) or not p.regs["CR4"] & CR4_FSGSBASE:
            go_on(p, value)
        else:
            p.regs[name] = value

    return rule


def _ltr_null(p: Machine, go_on: Function, selector: int) -> None:
    if selector & 0xFFFC or p.regs["CPL"]:
        go_on(p, selector)
    else:
        p.regs.update({"TR.selector": selector & 3, "TR.attrib": 0, "TR.limit": 0, "TR.base": 0})


def _lldt_null(p: Machine, go_on: Function, selector: int) -> None:
    attrib = p.regs["LDTR.attrib"]
    go_on(p, selector)
    if selector < 4:
        p.regs["LDTR.attrib"] = attrib


def _null_stays(p: Machine, go_on: Function) -> None:
    regs = p.regs
    null = [name for name in ("FS", "GS") if regs[f"{name}.selector"] < 4]
    kept = {f"{name}.{part}": regs[f"{name}.{part}"] for name in null for part in ("selector", "attrib")}
    go_on(p)
    regs.update(kept)


def _absent_ldt(p: Machine, go_on: Function, segment: str, selector: int) -> None:
    attrib = p.regs["LDTR.attrib"]
    p.regs["LDTR.attrib"] = attrib | 0x80
    try:
        go_on(p, segment, selector)
    finally:
        p.regs["LDTR.attrib"] = attrib


def _whole_access(p: Machine, go_on: Function, address: int, *rest: int) -> int | None:
    try:
        result: int | None = go_on(p, address, *rest)
    except Fault as fault:
        if fault.address is not None and not is_canonical(fault.address + rest[-1] - 1 & _MASK64):
            raise Fault("#GP", "the last byte's address is not canonical", 0) from None
        raise
    return result


def _raw_vmload(p: Machine, go_on: Function, pa: int) -> None:
    go_on(p, pa)
    page = Vmcb(p.memory, pa)
    for name in ("SYSENTER_ESP", "SYSENTER_EIP"):
        p.regs[name] = page[name]


def _extended_vmload(p: Machine, go_on: Function, pa: int) -> None:
    go_on(p, pa)
    page = Vmcb(p.memory, pa)
    for name in ("LSTAR", "CSTAR", "SYSENTER_ESP", "SYSENTER_EIP"):
        p.regs[name] = canonical(page[name])


def _low32(name: str) -> Rule:
    def rule(p: Machine, go_on: Function, pa: int) -> None:
        go_on(p, pa)
        p.regs[name] &= 0xFFFF_FFFF

    return rule


def _raw_system_base(p: Machine, go_on: Function, selector: int) -> None:
    """Hide a base that is not canonical from the model, then load it as it is."""
    place = p.regs["GDTR.base"] - at.linear(0) + (selector & 0xFFF8) + 8
    high = p.memory.read(place, 4) if selector & ~7 in (0xA8, 0xB8) and not selector & 4 else 0
    if not high:
        go_on(p, selector)
        return
    p.memory.write(place, 0, 4)
    try:
        go_on(p, selector)
    finally:
        p.memory.write(place, high, 4)
    name = "TR.base" if selector < 0xB8 else "LDTR.base"
    p.regs[name] |= high << 32


def _accessed(p: Machine, go_on: Function, segment: str, selector: int) -> None:
    go_on(p, segment, selector)
    if selector > 3:
        table = "LDTR" if selector & 4 else "GDTR"
        place = p.regs[f"{table}.base"] - at.linear(0) + (selector & 0xFFF8) + 5
        p.memory.write(place, p.memory.read(place, 1) | 1, 1)
        p.regs[f"{segment}.attrib"] |= 1


def _any_hsave(p: Machine, go_on: Function, msr: int, value: int) -> None:
    if msr == MSR.VM_HSAVE_PA:
        go_on(p, msr, 0)
        p.regs["VM_HSAVE_PA"] = value
    else:
        go_on(p, msr, value)


def _debug_registers(p: Machine, go_on: Function, pa: int, guest: Program) -> int:
    dr6 = p.regs["DR6"]
    code: int = go_on(p, pa, guest)
    p.regs["DR6"] = dr6
    return code


def _short_invalid(p: Machine, go_on: Function, pa: int, guest: Program) -> int:
    go_on(p, pa, guest)
    page = p.memory.page(pa)
    if int.from_bytes(page[_EXIT : _EXIT + 8], "little") == VMEXIT_INVALID:
        page[_EXIT + 4 : _EXIT + 8] = bytes(4)
    return exitcode(p)


def _refused(p: Machine, pa: int) -> bool:
    page = p.memory.page(pa)
    return int.from_bytes(page[_EXIT : _EXIT + 4], "little") == 0xFFFF_FFFF


def _host_stored(p: Machine, go_on: Function, pa: int, guest: Program) -> int:
    code: int = go_on(p, pa, guest)
    if _refused(p, pa):
        vmcb = Vmcb(p.memory, pa)
        stored = dict(zip(VMRUN_SET.names, VMRUN_SET.read(VMRUN_SET.image(vmcb.page)), strict=True))
        VMRUN_SET.write(vmcb.page, VMRUN_SET.values(p.regs))
        # EFER is loaded by the time these two are looked at, the last of all.
        rest = stored | {"CR4": stored["CR4"] | CR4_PAE, "CR0": stored["CR0"] & ~CR0_NW}
        if not illegal(rest, vmcb["INTERCEPT_WORD4"], vmcb["ASID"]):
            vmcb["EFER"] = stored["EFER"]
    return code


def _loaded_then_refused(p: Machine, go_on: Function, pa: int, guest: Program) -> int:
    code: int = go_on(p, pa, guest)
    if _refused(p, pa):
        vmcb = Vmcb(p.memory, pa)
        cr0, cr4 = vmcb["CR0"], vmcb["CR4"]
        early = not vmcb["INTERCEPT_WORD4"] & 1 or not vmcb["ASID"]
        if early or (cr0 | cr4) >> 32 or (cr0 & CR0_NW and not cr0 & CR0_CD):
            VMRUN_SET.write(vmcb.page, VMRUN_SET.values(p.regs))
        else:
            p.regs["CR2"] = vmcb["CR2"]
    return code


def _keep_cr2(p: Machine, go_on: Function, pa: int, guest: Program) -> int:
    p.kept["CR2"] = p.regs["CR2"]
    code: int = go_on(p, pa, guest)
    return code


def _own_cr2(p: Machine, go_on: Function) -> None:
    p.regs["CR2"] = p.kept["CR2"]
    go_on(p)


def _vmcb_moves(p: Machine, go_on: Function, pa: int) -> None:
    go_on(p, pa)
    p.kept["VMCB"] = pa


def _vmcb_lost(p: Machine, go_on: Function) -> None:
    p.kept["VMCB"] = at.SCRATCH  # the way to CPL 3 and back uses VMSAVE and VMLOAD
    go_on(p)


def _before_exit(p: Machine, go_on: Function) -> None:
    p.kept["before"] = bytes(p.memory.page(at.VMCB))
    go_on(p)


def _exit_elsewhere(p: Machine, go_on: Function, pa: int, guest: Program) -> int:
    p.kept["VMCB"], p.kept["before"] = pa, None
    code: int = go_on(p, pa, guest)
    if p.kept["before"] and p.kept["VMCB"] != pa:
        page, other = p.memory.page(pa), p.memory.page(p.kept["VMCB"])
        values = VMRUN_SET.read(VMRUN_SET.image(page))
        page[:] = p.kept["before"]
        VMRUN_SET.write(other, values)
        other[_EXIT : _EXIT + 8] = code.to_bytes(8, "little")
    return exitcode(p)


def _field(page: int, offset: int, value: int, size: int = 8) -> tuple[str, int, int, int]:
    return ("store", at.linear(page) + offset, value, size)


_LOAD = ("vmload", at.SPARE)
_LOAD_ADDRESSES = (_field(at.SPARE, 0x608, _BEYOND), _field(at.SPARE, 0x630, _BEYOND), _LOAD)

DEVIATIONS = (
    Deviation(
        "wrmsr-canonical",
        "qemu72",
        {"wrmsr": _raw_address, "user": _sign_extended},
        [("wrmsr", MSR.LSTAR, _BEYOND), ("wrmsr", MSR.GS_BASE, _BEYOND)],
    ),
    Deviation("wrmsr-sysenter", "qemu72", {"wrmsr": _raw_sysenter}, [("wrmsr", MSR.SYSENTER_ESP, _BEYOND)]),
    Deviation(
        "wrmsr-sysenter",
        "bochs27",
        {"wrmsr": _canonical_sysenter},
        [("wrmsr", MSR.SYSENTER_EIP, _BEYOND), ("wrmsr", MSR.SYSENTER_EIP, 1 << 40)],
    ),
    Deviation(
        "wrmsr-sysenter-cs", "qemu72", {"wrmsr": _sysenter_cs}, [("wrmsr", MSR.SYSENTER_CS, 0x1234_5678)]
    ),
    Deviation(
        "wrmsr-low32",
        "qemu72",
        {"wrmsr": _all_64_bits},
        [("wrmsr", MSR.SFMASK, 1 << 40), ("wrmsr", MSR.TSC_AUX, 1 << 40)],
    ),
    Deviation(
        "unknown-msr",
        "qemu72",
        {"rdmsr": _unknown_msr, "wrmsr": _unknown_msr},
        [("rdmsr", 0xC000_0105), ("wrmsr", 0xC000_0105, 5)],
    ),
    Deviation("efer-reserved", "qemu72", {"wrmsr": _efer_bits}, [("wrmsr", MSR.EFER, at.EFER | 1 << 20)]),
    Deviation(
        "wrbase-canonical",
        "qemu72",
        {"wrfsbase": _raw_base("FS.base"), "wrgsbase": _raw_base("GS.base"), "user": _sign_extended},
        [("wrfsbase", _BEYOND), ("wrgsbase", 1 << 63)],
    ),
    Deviation("ltr-null", "qemu72", {"ltr": _ltr_null}, [("ltr", 3), ("str",)]),
    Deviation("vmload-addresses", "qemu72", {"vmload": _raw_vmload}, _LOAD_ADDRESSES),
    Deviation("vmload-addresses", "bochs27", {"vmload": _extended_vmload}, _LOAD_ADDRESSES),
    Deviation(
        "vmload-sfmask", "bochs27", {"vmload": _low32("SFMASK")}, [_field(at.SPARE, 0x618, 1 << 40), _LOAD]
    ),
    Deviation(
        "system-base-canonical",
        "qemu72",
        {"lldt": _raw_system_base, "ltr": _raw_system_base},
        [("lldt", 0xB8), ("ltr", 0xA8)],
    ),
    Deviation("lldt-null", "qemu72", {"lldt": _lldt_null}, [("lldt", 0)]),
    Deviation("iret-null", "qemu72", {"iret": _null_stays}, [("mov_to_sreg", "GS", 3), ("user", "cli")]),
    Deviation(
        "ldt-not-present",
        "qemu72",
        {"mov_to_sreg": _absent_ldt},
        [_field(at.SPARE, 0x474, 0x17, 4), _LOAD, ("mov_to_sreg", "FS", 0x0C)],
    ),
    Deviation(
        "canonical-end",
        "bochs27",
        dict.fromkeys(("load", "load_gs", "store", "store_gs"), _whole_access),
        [("load", (1 << 47) - 1, 8)],
    ),
    *(
        Deviation(
            "vmload-sysenter-cs",
            engine,
            {"vmload": _low32("SYSENTER_CS")},
            [_field(at.SPARE, 0x628, 1 << 40), _LOAD],
        )
        for engine in ("qemu72", "bochs27")
    ),
    *(
        Deviation("accessed-bit", engine, {"mov_to_sreg": _accessed}, [("mov_to_sreg", "FS", 0x90)])
        for engine in ("qemu72", "bochs27")
    ),
    Deviation(
        "hsave-pa",
        "bochs27",
        {"wrmsr": _any_hsave},
        [("wrmsr", MSR.VM_HSAVE_PA, 7), ("wrmsr", MSR.VM_HSAVE_PA, 1 << 44)],
    ),
    Deviation(
        "vmexit-dr6",
        "qemu72",
        {"vmrun": _debug_registers},
        [_field(at.VMCB, 0x568, at.DR6 | 1), ("vmrun", at.VMCB, [])],
    ),
    Deviation(
        "invalid-32-bits",
        "qemu72",
        {"vmrun": _short_invalid},
        [_field(at.VMCB, 0x58, 0, 4), ("vmrun", at.VMCB, [])],
    ),
    Deviation(
        "invalid-stores",
        "qemu72",
        {"vmrun": _loaded_then_refused},
        [_field(at.VMCB, 0x58, 0, 4), _field(at.VMCB, 0x640, 5), ("vmrun", at.VMCB, [])],
    ),
    Deviation(
        "invalid-stores",
        "bochs27",
        {"vmrun": _host_stored},
        [_field(at.VMCB, 0x58, 0, 4), _field(at.VMCB, 0x640, 5), ("vmrun", at.VMCB, [])],
    ),
    Deviation("vmrun-cr2", "bochs27", {"vmrun": _keep_cr2, "entered": _own_cr2}, [("vmrun", at.VMCB, [])]),
    Deviation(
        "guest-vmsave",
        "bochs27",
        {
            "vmsave": _vmcb_moves,
            "vmload": _vmcb_moves,
            "user": _vmcb_lost,
            "leaving": _before_exit,
            "vmrun": _exit_elsewhere,
        },
        [("vmrun", at.VMCB, [("vmsave", at.SPARE)])],
    ),
)


@cache
def profile(engine: str, without: str = "") -> Mapping[str, Function]:
    """The functions of the model with all rules of `engine`, or all but one; "documented" has none."""
    functions = dict(FUNCTIONS)
    for deviation in DEVIATIONS:
        if deviation.engine == engine and deviation.name != without:
            for operation, rule in deviation.rules.items():
                functions[operation] = _wrap(rule, functions[operation])
    return functions


def _wrap(rule: Rule, function: Function) -> Function:
    def wrapped(p: Machine, *operands: Any) -> Any:
        return rule(p, function, *operands)

    return wrapped
