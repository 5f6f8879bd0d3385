"""Where an emulator is known to differ from the model: options or rules, a probe that shows them, and a row.

The rows are data/deviations.csv: what the emulator does, what the model does, and why we think so.  What the
sources leave open is an option of the model (data/options.csv); what is a plain defect is a rule here, which
wraps the function of an operation.  `profile("qemu72")` is the model with all that belongs to that emulator.

The module is long because the deviations are many; each is a few lines, and they stand in the table's order.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

from .. import profiles
from ..faults import Fault
from ..instructions import legality
from ..instructions.legality import illegal
from ..instructions.msr import require_ring0
from ..instructions.svm import VMRUN_SET
from ..memory import canonical, is_canonical
from ..processor import CR0_CD, CR0_NW, CR4_FSGSBASE, CR4_PAE
from ..registers import BY_MSR, MSR
from ..vmcb import CONTROL, Vmcb
from . import layout as at
from .programs import Program
from .reference import FUNCTIONS, Function, Machine, Profile, exitcode

#: (machine, the function without this rule, operands) -> what the operation gives.
Rule = Callable[..., Any]


class Deviation(NamedTuple):
    """The rules of an emulator's that make one row, by operation, a program that shows them, and options."""

    name: str
    engine: str
    rules: Mapping[str, Rule]
    probe: Program
    #: The options of the engine's profile that are the model's own rules for it.
    options: tuple[str, ...] = ()


_BEYOND = 0x1234_8000_0000_0000
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


def _any_hsave(p: Machine, go_on: Function, msr: int, value: int) -> None:
    if msr == MSR.VM_HSAVE_PA:
        go_on(p, msr, 0)
        p.regs["VM_HSAVE_PA"] = value
    else:
        go_on(p, msr, value)


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
        if not illegal(legality.Vmcb(rest, legality.control(vmcb.page)), p.options):
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
    Deviation("wrmsr-sysenter", "qemu72", {}, [("wrmsr", MSR.SYSENTER_ESP, _BEYOND)], ("sysenter_raw",)),
    Deviation(
        "wrmsr-sysenter",
        "bochs27",
        {},
        [("wrmsr", MSR.SYSENTER_EIP, _BEYOND), ("wrmsr", MSR.SYSENTER_EIP, 1 << 40)],
        ("sysenter_canonical",),
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
    Deviation("vmload-addresses", "qemu72", {}, _LOAD_ADDRESSES, ("vmload_sysenter_raw",)),
    Deviation(
        "vmload-addresses",
        "bochs27",
        {},
        _LOAD_ADDRESSES,
        ("vmload_extends_entry_points", "vmload_sysenter_extends"),
    ),
    Deviation(
        "vmload-sfmask",
        "bochs27",
        {},
        [_field(at.SPARE, 0x618, 1 << 40), _LOAD],
        ("vmload_sfmask_low32",),
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
    Deviation(
        "hsave-pa",
        "bochs27",
        {"wrmsr": _any_hsave},
        [("wrmsr", MSR.VM_HSAVE_PA, 7), ("wrmsr", MSR.VM_HSAVE_PA, 1 << 44)],
    ),
    Deviation(
        "vmexit-dr6",
        "qemu72",
        {},
        [_field(at.VMCB, 0x568, at.DR6 | 1), ("vmrun", at.VMCB, [])],
        ("vmexit_restores_dr6",),
    ),
    Deviation(
        "invalid-32-bits",
        "qemu72",
        {},
        [_field(at.VMCB, 0x58, 0, 4), ("vmrun", at.VMCB, [])],
        ("exitcode_low32",),
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
    Deviation("vmrun-cr2", "bochs27", {}, [("vmrun", at.VMCB, [])], ("vmrun_leaves_cr2",)),
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
def profile(engine: str = "documented", without: str = "") -> Profile:
    """The model as `engine` behaves, or as that but for one deviation; "documented" has none."""
    functions = dict(FUNCTIONS)
    documented = profiles.profile()
    options = profiles.profile(engine)
    for deviation in DEVIATIONS:
        if deviation.engine != engine:
            continue
        if deviation.name == without:
            options = options.but(**{name: getattr(documented, name) for name in deviation.options})
        else:
            for operation, rule in deviation.rules.items():
                functions[operation] = _wrap(rule, functions[operation])
    return Profile(functions, options)


def _wrap(rule: Rule, function: Function) -> Function:
    def wrapped(p: Machine, *operands: Any) -> Any:
        return rule(p, function, *operands)

    return wrapped
