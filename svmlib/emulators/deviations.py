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
from ..instructions.intercepts import EXITCODES, Intercepted, intercept
from ..instructions.legality import illegal
from ..instructions.msr import permission, require_ring0
from ..instructions.svm import NESTED_PAGING, VMRUN_SET
from ..memory import canonical, is_canonical
from ..processor import CR0_CD, CR0_ET, CR0_NW, CR4_FSGSBASE, CR4_PAE, RFLAGS_IF
from ..profiles import Switches
from ..registers import BY_MSR, MSR, REGISTERS
from ..vmcb import CONTROL, Vmcb
from . import layout as at
from .programs import Program
from .reference import FUNCTIONS, Function, Machine, Profile, exitcode
from .runtime import NMI_MARK

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
_PAT = slice(REGISTERS["PAT"].vmcb, (REGISTERS["PAT"].vmcb or 0) + 8)
_GP = EXITCODES["EXCEPTION"] + 13
#: What Bochs writes of the control area: V_TPR and V_IRQ, shadow, EXITCODE to EXITINTINFO, half of EVENTINJ.
_WRITTEN = ((0x60, 0x62), (0x68, 0x69), (0x70, 0x8C), (0xA8, 0xAC))
_EARLY_CHECKS = frozenset(
    ("intercept", "asid", "cr0_high", "cr0_nw", "cr3_reserved", "cr4_high", "cr4_reserved", "msrpm", "iopm")
)


def _raw_address(p: Machine, go_on: Function, msr: int, value: int) -> None:
    row = BY_MSR.get(msr)
    raw = row is not None and row.write == "canonical"
    go_on(p, msr, 0 if raw else value)
    if row is not None and raw:
        p.regs[row.name] = value


def _sign_extended(p: Machine, go_on: Function) -> None:
    """The way to CPL 3 and back is a VMSAVE and a VMLOAD, which brings such bases into form."""
    regs = p.regs
    for name in ("FS.base", "GS.base", "LDTR.base", "TR.base", "KernelGSBase"):
        if not is_canonical(regs[name]):
            regs[name] = canonical(regs[name])
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
        if p.intercepts:
            permission(p, msr, len(value))
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
        intercept(p, "LTR")
        p.regs.update({"TR.selector": selector & 3, "TR.attrib": 0, "TR.limit": 0, "TR.base": 0})


def _lldt_null(p: Machine, go_on: Function, selector: int) -> None:
    attrib = p.regs["LDTR.attrib"]
    go_on(p, selector)
    if selector < 4:
        p.regs["LDTR.attrib"] = attrib


def _null_stays(p: Machine, go_on: Function, *operands: int) -> Any:
    regs = p.regs
    null = [name for name in ("FS", "GS") if regs[f"{name}.selector"] < 4]
    kept = {f"{name}.{part}": regs[f"{name}.{part}"] for name in null for part in ("selector", "attrib")}
    result = go_on(p, *operands)
    regs.update(kept)
    return result


def _absent_ldt(p: Machine, go_on: Function, *operands: Any) -> Any:
    attrib = p.regs["LDTR.attrib"]
    p.regs["LDTR.attrib"] = attrib | 0x80
    try:
        return go_on(p, *operands)
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


def _any_cr0(p: Machine, go_on: Function, number: int, value: int) -> None:
    if number == 8:
        value &= 0xF
    nw_alone = number == 0 and value & (CR0_NW | CR0_CD) == CR0_NW
    if number == 0:
        value &= 0xFFFF_FFFF
    go_on(p, number, value | CR0_CD if nw_alone else value)
    if number == 0:
        p.regs["CR0"] = value | 1 << 4


def _all_debug_bits(p: Machine, go_on: Function, number: int, value: int) -> None:
    go_on(p, number, value)
    if number > 3:
        p.regs[f"DR{number}"] |= value & 0xFFFF_FFFF


def _any_null_stack(p: Machine, go_on: Function, segment: str, selector: int) -> None:
    go_on(p, segment, 0 if segment == "SS" and 0 < selector < 4 and not p.regs["CPL"] else selector)
    if segment == "SS" and selector < 4:
        p.regs["SS.selector"] = selector


def _any_table(name: str) -> Rule:
    def rule(p: Machine, go_on: Function, limit: int, base: int) -> int:
        held = p.regs[f"{name}.limit"], p.regs[f"{name}.base"]
        if is_canonical(base):
            result: int = go_on(p, limit, base)
            return result
        go_on(p, *held)
        return limit << 48 ^ base

    return rule


def _syscall_clears_df(p: Machine, go_on: Function) -> int:
    result: int = go_on(p)
    return result & ~(1 << 10 + 32)


def _iret_marks_nothing(p: Machine, go_on: Function, cs: int, ss: int) -> int:
    tables = p.memory.pages[at.TABLES]
    before = bytes(tables)
    result: int = go_on(p, cs, ss)
    tables[:] = before
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


def _any_pat(p: Machine, go_on: Function, msr: int, value: int) -> None:
    go_on(p, msr, 0 if msr == MSR.PAT else value)
    if msr == MSR.PAT:
        p.regs["PAT"] = value


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
        control = legality.control(vmcb.page)
        loaded = legality.Vmcb(stored, control._replace(eventinj=0))
        if not illegal(loaded, p.options):  # EVENTINJ is looked at when all of the guest is loaded
            bases = {name: canonical(stored[name]) for name in stored if name.endswith(".base")}
            held = stored | bases | {"CR0": stored["CR0"] | CR0_ET, "DR7": stored["DR7"] | at.DR7}
            held["CR2"] = p.regs["CR2"]
            p.regs["DR6"] = stored["DR6"]
        else:
            held = p.regs | {"DR6": p.host_dr[0], "DR7": p.host_dr[1]}
            vmcb["INT_STATE"] &= ~0xFF
            # EFER is loaded by the time these two are looked at, the last of all.
            rest = stored | {"CR4": stored["CR4"] | CR4_PAE, "CR0": stored["CR0"] & ~CR0_NW}
            if not illegal(legality.Vmcb(rest, control), p.options):
                held["EFER"] = stored["EFER"]
        VMRUN_SET.write(vmcb.page, VMRUN_SET.values(held))
        vmcb["EVENTINJ"] &= ~legality.EVENTINJ_VALID
    return code


#: Checks that QEMU makes before it has loaded anything of the guest.
_EARLY = Switches(
    **{
        name: name.removeprefix("vmrun_checks_") in _EARLY_CHECKS or name == "vmrun_maps_always"
        for name in profiles.profile().__dict__
    }
)


def _loaded_then_refused(p: Machine, go_on: Function, pa: int, guest: Program) -> int:
    code: int = go_on(p, pa, guest)
    if _refused(p, pa):
        vmcb = Vmcb(p.memory, pa)
        values = dict(zip(VMRUN_SET.names, VMRUN_SET.read(VMRUN_SET.image(vmcb.page)), strict=True))
        pat = vmcb["PAT"]
        if illegal(legality.Vmcb(values, legality.control(vmcb.page)), _EARLY):
            VMRUN_SET.write(vmcb.page, VMRUN_SET.values(p.regs))
            vmcb["INT_CTL"] = 0
            vmcb["PAT"] = pat
        else:
            p.regs["CR2"] = vmcb["CR2"]
            vmcb["CR0"] |= CR0_ET
        vmcb["INT_STATE"] &= ~0xFFFF_FFFF
        vmcb["EXITINTINFO"], vmcb["EVENTINJ"] = vmcb["EVENTINJ"], 0
    return code


def _own_pat(p: Machine, go_on: Function) -> None:
    p.regs["PAT"] = p.kept["PAT"]
    go_on(p)


def _pat_stays(p: Machine, go_on: Function) -> None:
    go_on(p)
    p.kept["PAT"] = p.regs["PAT"]


def _pat_untouched(p: Machine, go_on: Function, pa: int, guest: Program) -> int:
    p.kept["PAT"] = p.regs["PAT"]
    stored = p.memory.page(pa)[_PAT] if not pa % 0x1000 and pa < p.memory.size else b""
    code: int = go_on(p, pa, guest)
    p.regs["PAT"] = p.kept["PAT"]
    p.memory.page(pa)[_PAT] = stored
    return code


def _dr7_bit(p: Machine, go_on: Function) -> None:
    p.regs["DR7"] |= at.DR7
    go_on(p)


def _dr7_stored(p: Machine, go_on: Function, pa: int, guest: Program) -> int:
    code: int = go_on(p, pa, guest)
    if not _refused(p, pa):
        Vmcb(p.memory, pa)["DR7"] |= at.DR7
    return code


def _virtual_gif_lost(p: Machine, go_on: Function, pa: int, guest: Program) -> int:
    code: int = go_on(p, pa, guest)
    if not _refused(p, pa):
        Vmcb(p.memory, pa)["INT_CTL"] &= ~0xFE00
    return code


def _shadow_anyway(p: Machine, go_on: Function) -> Any:
    if not p.regs["CPL"]:
        p.regs["RFLAGS"] &= ~RFLAGS_IF
    return go_on(p)


def _nmi_in_nmi(p: Machine, go_on: Function, pa: int, guest: Program) -> int:
    """An intercepted NMI that waits ends the run before the handler of the injected one has left a mark."""
    waits = "NMI" in p.pending and not p.nmi_masked and not pa % 0x1000 and pa < p.memory.size
    injects = waits and Vmcb(p.memory, pa)["EVENTINJ"] & 0x8000_0700 == 0x8000_0200
    code: int = go_on(p, pa, guest)
    if injects and code == EXITCODES["NMI"]:
        p.marks -= NMI_MARK
    return code


def _gp_tells_cr2(p: Machine, go_on: Function, *operands: int) -> Any:
    try:
        return go_on(p, *operands)
    except Fault as fault:
        if fault.vector == "#GP" and p.intercepts >> _GP & 1:
            raise Intercepted(_GP, 0, p.regs["CR2"]) from None
        raise


def _never_intercepted(name: str) -> Rule:
    bit = 1 << EXITCODES[name]

    def rule(p: Machine, go_on: Function, *operands: Any) -> Any:
        intercepts = p.intercepts
        p.intercepts &= ~bit
        try:
            return go_on(p, *operands)
        finally:
            p.intercepts = intercepts

    return rule


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
    go_on(p, pa, guest)
    if p.kept["before"] and p.kept["VMCB"] != pa:
        page, other = p.memory.page(pa), p.memory.page(p.kept["VMCB"])
        values = VMRUN_SET.read(VMRUN_SET.image(page))
        pat = other[_PAT]
        VMRUN_SET.write(other, values)
        if not Vmcb(p.memory, pa)["MISC_CTL"] & NESTED_PAGING:
            other[_PAT] = pat
        for start, end in _WRITTEN:
            other[start:end] = page[start:end]
        page[:] = p.kept["before"]
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
    Deviation("pat-types", "qemu72", {"wrmsr": _any_pat}, [("wrmsr", MSR.PAT, 2)]),
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
    Deviation(
        "iret-null",
        "qemu72",
        {"iret to ring 3": _null_stays, "iret": _null_stays},
        [("mov_to_sreg", "GS", 3), ("user", "cli")],
    ),
    Deviation(
        "ldt-not-present",
        "qemu72",
        {"mov_to_sreg": _absent_ldt, "iret": _absent_ldt},
        [_field(at.SPARE, 0x474, 0x17, 4), _LOAD, ("mov_to_sreg", "FS", 0x0C)],
    ),
    Deviation(
        "cr-reserved",
        "qemu72",
        {"mov_to_cr": _any_cr0},
        [("mov_to_cr", 0, at.CR0 | 1 << 29), ("mov_to_cr", 0, at.CR0 | 1 << 32), ("mov_to_cr", 8, 0x15)],
    ),
    Deviation(
        "dr-reserved",
        "qemu72",
        {"mov_to_dr": _all_debug_bits},
        [("mov_to_dr", 6, 0x1000), ("mov_to_dr", 7, 0xD000)],
    ),
    Deviation("ss-null", "qemu72", {"mov_to_sreg": _any_null_stack}, [("mov_to_sreg", "SS", 3)]),
    Deviation(
        "table-canonical",
        "qemu72",
        {"lgdt": _any_table("GDTR"), "lidt": _any_table("IDTR")},
        [("lgdt", 0xD7, _BEYOND), ("lidt", 0xFFF, _BEYOND)],
    ),
    Deviation(
        "syscall-df", "qemu72", {"syscall": _syscall_clears_df}, [("wrmsr", MSR.SFMASK, 0), ("syscall",)]
    ),
    Deviation("iret-accessed", "qemu72", {"iret": _iret_marks_nothing}, [("iret", 0x1B, 0x93)]),
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
    Deviation(
        "vmrun-pat",
        "qemu72",
        {"entered": _own_pat, "leaving": _pat_stays, "vmrun": _pat_untouched},
        [_field(at.VMCB, 0x668, 0x0106_0504_0701_0006), ("vmrun", at.VMCB, [("rdmsr", MSR.PAT)])],
    ),
    Deviation(
        "vmrun-dr7",
        "bochs27",
        {"entered": _dr7_bit, "vmrun": _dr7_stored},
        [_field(at.VMCB, 0x560, 0), ("vmrun", at.VMCB, [])],
    ),
    Deviation(
        "rdtscp-intercept",
        "qemu72",
        {"rdtscp": _never_intercepted("RDTSCP")},
        [_field(at.VMCB, 0x10, 0x83, 4), ("vmrun", at.VMCB, [("rdtscp",)])],
    ),
    Deviation(
        "vmrun-maps",
        "qemu72",
        {},
        [_field(at.VMCB, 0x48, 1 << 40), ("vmrun", at.VMCB, [])],
        ("vmrun_maps_always",),
    ),
    Deviation(
        "vmrun-maps",
        "bochs27",
        {},
        [_field(at.VMCB, 0x48, 1 << 40), ("vmrun", at.VMCB, [])],
        ("vmrun_maps_start", "vmrun_checks_msrpm", "vmrun_checks_iopm"),
    ),
    *(
        Deviation(
            "vmrun-bases",
            engine,
            {},
            [_field(at.VMCB, 0x408, 1 << 47), ("vmrun", at.VMCB, [])],
            ("vmrun_extends_bases",),
        )
        for engine in ("qemu72", "bochs27")
    ),
    Deviation(
        "intr-masking",
        "bochs27",
        {},
        [("sti",), ("clgi",), ("intr",), _field(at.VMCB, 0x60, 1 << 24, 4), ("vmrun", at.VMCB, [])],
        ("masking_leaves_if",),
    ),
    Deviation(
        "gp-exitinfo2",
        "qemu72",
        dict.fromkeys(("load", "load_gs", "store", "store_gs"), _gp_tells_cr2),
        [_field(at.VMCB, 0x8, 1 << 13, 4), ("vmrun", at.VMCB, [("load", 1 << 47, 8)])],
    ),
    Deviation(
        "nmi-injected",
        "qemu72",
        {"vmrun": _nmi_in_nmi},
        [
            *(("clgi",), ("nmi",), _field(at.VMCB, 0xC, 2, 4), _field(at.VMCB, 0xA8, 0x8000_0202)),
            ("vmrun", at.VMCB, []),
        ],
    ),
    Deviation(
        "sti-shadow",
        "qemu72",
        dict.fromkeys(("sti_cli", "sti_clgi", "sti_vmmcall"), _shadow_anyway),
        [_field(at.VMCB, 0x570, 0x202), ("vmrun", at.VMCB, [("sti_vmmcall",)])],
    ),
    Deviation(
        "virtual-gif",
        "bochs27",
        {"vmrun": _virtual_gif_lost},
        [_field(at.VMCB, 0x60, 3 << 24 | 1 << 9, 4), ("vmrun", at.VMCB, [])],
    ),
    Deviation(
        "vmrun-shadow",
        "qemu72",
        {},
        [
            *(_field(at.VMCB, 0x68, 1), _field(at.VMCB, 0xC, 2, 4), ("clgi",), ("nmi",)),
            ("vmrun", at.VMCB, []),
        ],
        ("vmrun_leaves_shadow",),
    ),
    Deviation(
        "nmi-shadow",
        "bochs27",
        {},
        [
            *(_field(at.VMCB, 0x68, 1), _field(at.VMCB, 0xC, 2, 4), ("clgi",), ("nmi",)),
            ("vmrun", at.VMCB, []),
        ],
        ("shadow_holds_nmi",),
    ),
    Deviation(
        "cr-order",
        "bochs27",
        {},
        [_field(at.VMCB, 0, 1 << 16, 4), ("vmrun", at.VMCB, [("mov_to_cr", 0, at.CR0 | 1 << 32)])],
        ("cr_value_before_intercept",),
    ),
    Deviation(
        "address-order",
        "bochs27",
        {},
        [_field(at.VMCB, 0x10, 7, 4), ("vmrun", at.VMCB, [("vmload", at.SPARE + 1)])],
        ("address_after_intercept",),
    ),
    Deviation(
        "vmload-nested",
        "qemu72",
        {},
        [_field(at.VMCB, 0x90, 0), ("vmrun", at.VMCB, [("vmload", at.SPARE)])],
        ("vmload_wants_nested",),
    ),
    Deviation(
        "vmrun-pat-types",
        "qemu72",
        {},
        [_field(at.VMCB, 0x668, 2), ("vmrun", at.VMCB, [])],
        ("vmrun_checks_pat",),
    ),
    Deviation(
        "vmrun-cr3",
        "bochs27",
        {},
        [_field(at.VMCB, 0x550, at.PML4 | 1 << 63), ("vmrun", at.VMCB, [])],
        ("vmrun_checks_cr3_reserved",),
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


#: Features that one emulator's CPU has beyond profiles.cpu("emulated").
_FEATURES = {"qemu72": profiles.cpu("emulated").but(vgif=True)}


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
    return Profile(functions, options, _FEATURES.get(engine, profiles.cpu("emulated")))


def _wrap(rule: Rule, function: Function) -> Function:
    def wrapped(p: Machine, *operands: Any) -> Any:
        return rule(p, function, *operands)

    return wrapped
