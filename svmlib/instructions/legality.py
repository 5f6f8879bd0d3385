"""Which VMCBs VMRUN refuses: one function a row of data/vmrun_checks.csv, in the table's order.

All end in #VMEXIT with EXITCODE VMEXIT_INVALID; which comes first cannot be seen from outside.
"""

from collections.abc import Callable
from struct import Struct
from typing import NamedTuple

from ..data import rows
from ..memory import MAXPHYADDR
from ..processor import CR0_CD, CR0_NW, CR0_PE, CR0_PG, CR4_LA57, CR4_PAE, EFER_LME, EFER_SVME
from ..profiles import Switches
from .intercepts import EXITCODES
from .msr import EFER_BITS, PAT_TYPES

#: EVENTINJ: valid, and where the type lies.
EVENTINJ_VALID, EVENTINJ_TYPE = 1 << 31, 8
#: Types of EVENTINJ: external interrupt, NMI, exception, software interrupt.
INTR, NMI, EXCEPTION, SOFTWARE = 0, 2, 3, 4
MSRPM_SIZE, IOPM_SIZE = 0x2000, 0x3000
#: Bits of CR4 that no processor here has (kvm-unit-tests-svm); CR4.LA57 where the CPU lacks it is one more.
_CR4_RESERVED = 0xFF08_E000


class Control(NamedTuple):
    """What VMRUN reads of the control area."""

    intercepts: int
    iopm: int
    msrpm: int
    tsc_offset: int
    asid: int
    int_ctl: int
    int_state: int
    misc_ctl: int
    eventinj: int
    nested_cr3: int
    misc_ctl2: int


_FIELDS = Struct("<20s 44x QQQ I 4x I 4x Q 32x Q 16x QQQ")


def control(page: bytearray) -> Control:
    """Read the control area of a VMCB page."""
    intercepts, *rest = _FIELDS.unpack_from(page)
    return Control(int.from_bytes(intercepts, "little"), *rest)


class Vmcb(NamedTuple):
    """What the checks look at: the guest's registers, the control area, and two facts of the processor."""

    guest: dict[str, int]
    control: Control
    la57: bool = False
    host_paging: bool = True


def _long(vmcb: Vmcb) -> bool:
    return bool(vmcb.guest["EFER"] & EFER_LME and vmcb.guest["CR0"] & CR0_PG)


def _nested(vmcb: Vmcb) -> bool:
    return bool(vmcb.control.misc_ctl & 1)


def _high(name: str) -> Callable[[Vmcb], bool]:
    return lambda vmcb: bool(vmcb.guest[name] >> 32)


def _map(field: str, exitcode: str, size: int) -> Callable[[Vmcb], bool]:
    bit, end = EXITCODES[exitcode], (1 << MAXPHYADDR) - size
    return lambda vmcb: bool(
        vmcb.control.intercepts >> bit & 1 and (getattr(vmcb.control, field) & -0x1000) > end
    )


def _bad_event(vmcb: Vmcb) -> bool:
    event = vmcb.control.eventinj
    if not event & EVENTINJ_VALID:
        return False
    kind, vector = event >> EVENTINJ_TYPE & 7, event & 0xFF
    return kind not in (INTR, NMI, EXCEPTION, SOFTWARE) or (
        kind == EXCEPTION and (vector > 31 or vector == 2)
    )


_CHECKS: dict[str, Callable[[Vmcb], bool]] = {
    "intercept": lambda vmcb: not vmcb.control.intercepts >> EXITCODES["VMRUN"] & 1,
    "asid": lambda vmcb: not vmcb.control.asid,
    "efer_svme": lambda vmcb: not vmcb.guest["EFER"] & EFER_SVME,
    "efer_reserved": lambda vmcb: bool(vmcb.guest["EFER"] & ~EFER_BITS),
    "cr0_high": _high("CR0"),
    "cr0_nw": lambda vmcb: vmcb.guest["CR0"] & (CR0_NW | CR0_CD) == CR0_NW,
    "cr4_high": _high("CR4"),
    "cr4_reserved": lambda vmcb: bool(
        vmcb.guest["CR4"] & (_CR4_RESERVED | (0 if vmcb.la57 else CR4_LA57))
    ),
    "dr6_high": _high("DR6"),
    "dr7_high": _high("DR7"),
    "long_pae": lambda vmcb: _long(vmcb) and not vmcb.guest["CR4"] & CR4_PAE,
    "long_pe": lambda vmcb: _long(vmcb) and not vmcb.guest["CR0"] & CR0_PE,
    "long_cs": lambda vmcb: _long(vmcb) and vmcb.guest["CS.attrib"] >> 9 & 3 == 3,
    "cr3_reserved": lambda vmcb: _long(vmcb) and bool(vmcb.guest["CR3"] >> 52),
    "msrpm": _map("msrpm", "MSR", MSRPM_SIZE),
    "iopm": _map("iopm", "IOIO", IOPM_SIZE),
    "eventinj": _bad_event,
    "nested_paging": lambda vmcb: _nested(vmcb) and not vmcb.host_paging,
    "pat": lambda vmcb: (
        _nested(vmcb) and not PAT_TYPES.issuperset(vmcb.guest["PAT"].to_bytes(8, "little"))
    ),
}  # fmt: skip

#: Check -> the sentence that says why VMRUN refuses.
SENTENCES = {row["check"]: row["sentence"] for row in rows("vmrun_checks")}
_IN_ORDER = tuple((name, f"vmrun_checks_{name}", _CHECKS[name]) for name in SENTENCES)


def illegal(vmcb: Vmcb, options: Switches) -> str | None:
    """Say why VMRUN refuses a VMCB, or None when it is legal; `options` leave out what an emulator does."""
    if options.vmrun_maps_always or options.vmrun_maps_start:
        for name, pa, size in (("msrpm", vmcb.control.msrpm, 0x2000), ("iopm", vmcb.control.iopm, 0x2001)):
            if (pa & -0x1000) >= (1 << MAXPHYADDR) - (size if options.vmrun_maps_always else 0):
                return SENTENCES[name]
    for name, option, check in _IN_ORDER:
        if check(vmcb) and getattr(options, option):
            return SENTENCES[name]
    return None
