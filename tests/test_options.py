"""Options, row by row of data/options.csv: what the documented rule gives, and what the row gives instead."""

from collections.abc import Callable
from typing import Any

import pytest

from machines import PAGE, VMCB, cpu, legal_vmcb
from svmlib import profiles
from svmlib.data import rows
from svmlib.faults import Fault
from svmlib.instructions import Cpu
from svmlib.instructions.intercepts import EXITCODES
from svmlib.registers import MSR, REGISTERS, carried_by
from svmlib.vmcb import Vmcb

TABLE = {row["option"]: row for row in rows("options")}
#: Not canonical; and what bit 47 makes of it, and the low 32 bits.
OPEN, EXTENDED, LOW = 0xAAAA_8000_1234_5678, 0xFFFF_8000_1234_5678, 0x1234_5678
INVALID, GP = EXITCODES["VMEXIT_INVALID"], EXITCODES["EXCEPTION"] + 13
IF, SHADOW, MASKING = 1 << 9, 1, 1 << 24
END = 1 << 40


def machine(option, on, **registers):
    """A CPU whose profile is the documented one but for `option`."""
    c, p = cpu(**registers)
    p.options = profiles.profile().but(**{option: on})
    return c, p


def loaded(*names: str) -> Callable[..., Any]:
    """VMLOAD of a page full of OPEN: what these registers hold, and that the option touches no other."""

    def observe(option, on):
        c, p = machine(option, on)
        for each in carried_by("VMSAVE"):
            Vmcb(p.memory, PAGE)[each] = OPEN & (1 << REGISTERS[each].bits) - 1
        c.vmload(PAGE)
        others = {each: p.regs[each] for each in carried_by("VMSAVE") if each not in names}
        return [p.regs[name] for name in names], others

    return observe


def written(value: int) -> Callable[..., Any]:
    """WRMSR of a value to SYSENTER_ESP: what the register then holds."""

    def observe(option, on):
        c, p = machine(option, on)
        try:
            c.wrmsr(MSR.SYSENTER_ESP, value)
        except Fault as fault:
            return str(fault)[:6]
        return p.regs["SYSENTER_ESP"]

    return observe


def switched(
    look: str, guest: Callable[..., Any] | None = None, host=(), **fields: Any
) -> Callable[..., Any]:
    """VMRUN of a guest that does something: what a field of the VMCB or a register then holds."""

    def observe(option, on):
        c, p = machine(option, on, **dict(host))
        names = {"VMRUN", "VMMCALL", *fields.get("exits", ())}
        vmcb = legal_vmcb(p, **{name: value for name, value in fields.items() if name != "exits"})
        vmcb["INTERCEPTS"] = sum(1 << (EXITCODES[n] if isinstance(n, str) else n) for n in names)
        p.on_event = lambda p, event: None
        p.guest = lambda p, pa: guest(Cpu(p), p) and None if guest else None
        c.vmrun(VMCB)
        return p.regs[look] if look in ("DR6", "DR7") else vmcb[look]

    return observe


def interrupted(c, p):
    """An interrupt comes while the guest runs."""
    p.pending.append(("INTR", 0x41))
    c.sldt()


def shadowed_nmi(option, on):
    """How many instructions pass before an NMI that comes with the STI is taken."""
    c, p = machine(option, on)
    taken = []
    p.on_event = lambda p, event: taken.append(len(p.trace))
    p.pending.append("NMI")
    c.sti()
    c.sldt()
    return taken


def shadowed_guest(option, on):
    """How many instructions of a guest that begins in a shadow pass before a waiting interrupt is taken."""
    c, p = machine(option, on)
    legal_vmcb(p, RFLAGS=2 | IF, INT_STATE=SHADOW)
    p.pending.append(("INTR", 0x41))
    taken = []
    p.on_event = lambda p, event: taken.append(sum(step.side == "guest" for step in p.trace))
    p.guest = lambda p, pa: (Cpu(p).sldt(), 0x72)[1]
    c.vmrun(VMCB)
    return taken


VMMCALL = EXITCODES["VMMCALL"]
#: Option -> what is looked at, what it is by the documented rule, and by the option's.
SEEN = {
    "address_after_intercept": (
        switched("EXITCODE", lambda c, p: c.vmload(PAGE + 1), exits=("VMLOAD", GP)), GP, EXITCODES["VMLOAD"]),
    "vmload_extends_entry_points": (loaded("LSTAR", "CSTAR"), [OPEN, OPEN], [EXTENDED, EXTENDED]),
    "vmload_sfmask_low32": (loaded("SFMASK"), [OPEN], [LOW]),
    "vmload_sysenter_raw": (loaded("SYSENTER_ESP", "SYSENTER_EIP"), [LOW, LOW], [OPEN, OPEN]),
    "vmload_sysenter_extends": (loaded("SYSENTER_ESP", "SYSENTER_EIP"), [LOW, LOW], [EXTENDED, EXTENDED]),
    "vmexit_restores_dr6": (
        switched("DR6", host={"DR6": 0xFFFF_0FF1}, DR6=0xFFFF_0FF2), 0xFFFF_0FF2, 0xFFFF_0FF1),
    "vmrun_leaves_cr2": (switched("CR2", host={"CR2": 0x1000}, CR2=0x2000), 0x2000, 0x1000),
    "exitcode_low32": (switched("EXITCODE", ASID=0), INVALID, 0xFFFF_FFFF),
    "sysenter_canonical": (written(1 << 47), 0, "#GP(0)"),
    "sysenter_raw": (written(1 << 47), 0, 1 << 47),
    "vmload_wants_nested": (
        switched("EXITCODE", lambda c, p: c.vmload(PAGE), MISC_CTL=0), VMMCALL, EXITCODES["VMLOAD"]),
    "vmrun_extends_bases": (switched("GDTR.base", **{"GDTR.base": OPEN}), OPEN, EXTENDED),
    "vmrun_maps_always": (switched("EXITCODE", MSRPM_BASE=END - 0x1000), VMMCALL, INVALID),
    "vmrun_maps_start": (switched("EXITCODE", MSRPM_BASE=END), VMMCALL, INVALID),
    "masking_leaves_if": (
        switched("EXITCODE", interrupted, {"RFLAGS": 2 | IF}, exits=("INTR",), INT_CTL=MASKING),
        EXITCODES["INTR"], VMMCALL),
    "cr_value_before_intercept": (
        switched("EXITCODE", lambda c, p: c.mov_to_cr(4, 1 << 63), exits=(0x14, GP)), 0x14, GP),
    "shadow_holds_nmi": (shadowed_nmi, [1], [2]),
    "vmrun_leaves_shadow": (shadowed_guest, [1], [0]),
}  # fmt: skip


def test_every_option_has_a_case():
    assert list(SEEN) == list(TABLE)


@pytest.mark.parametrize("option", TABLE)
def test_an_option_gives_what_its_row_says_and_without_it_the_documented_rule_holds(option):
    observe, documented, otherwise = SEEN[option]
    off, on = observe(option, False), observe(option, True)
    if isinstance(off, tuple):  # with the registers that are none of the option's business
        (off, others), (on, the_same) = off, on
        assert others == the_same
    assert (off, on) == (documented, otherwise)


def test_a_single_step_of_the_host_s_debug_registers_is_put_back_with_its_low_byte_clear():
    observe = switched("DR7", host={"DR7": 0x5_04FF})
    assert [observe("vmexit_restores_dr6", on) for on in (False, True)] == [0x400, 0x5_0400]


def test_the_documented_profile_has_no_option_set():
    assert {row["documented"] for row in TABLE.values()} == {"0"}
