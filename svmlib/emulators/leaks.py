"""Whose values the model's machine holds after a program: who wrote each field last, what is not the host's.

All of it is read from the trace, so it can be asked of the model alone.
"""

from ..instructions.intercepts import EXITCODES
from ..registers import REGISTERS, carried_by
from ..trace import Step
from ..vmcb import CONTROL, Vmcb
from . import layout as at
from .notation import FIELDS
from .outcomes import PAGES, fields
from .reference import Machine

#: Pages that hold the guest's half: a VMLOAD of one loads the guest's values.
_GUESTS = (at.VMCB, at.GUEST)
_TABLES = {"GDT": at.TABLES, "second GDT": at.TABLES_OTHER}
_NAMES = {pa: name for name, pa in PAGES.items()}


def writers(machine: Machine) -> dict[str, str]:
    """Field -> what wrote it last, such as "guest WRMSR" or "host VMLOAD HOST"."""
    last: dict[str, str] = {}
    places = {name: place for name in fields() if (place := _place(name))}
    gif = 1
    for step in machine.trace:
        who = _who(step)
        if step.gif != gif:
            last["GIF"], gif = who, step.gif
        last |= dict.fromkeys(step.names, who)
        for pa, old, new in step.memory:
            changed = {pa + n for n, (a, b) in enumerate(zip(old, new, strict=True)) if a != b}
            last |= {name: who for name, place in places.items() if not changed.isdisjoint(place)}
    return last


def _place(field: str) -> range | None:
    """The addresses of a field's bytes in memory; None for a register."""
    table, _, offset = field.partition("+")
    if table in _TABLES:
        start = _TABLES[table] + int(offset, 16)
        return range(start, start + 8)
    page, _, name = field.rstrip("]").partition("[")
    if not name or name not in FIELDS:
        return None
    bits = REGISTERS[name].bits if name in REGISTERS else CONTROL[name][1]
    start = PAGES[page] + FIELDS[name]
    return range(start, start + bits // 8)


def _who(step: Step) -> str:
    if step.event in ("VMRUN", "#VMEXIT"):
        return step.event
    named = f" {_NAMES[step.operand]}" if step.event == "VMLOAD" and step.operand in _NAMES else ""
    return f"{step.side} {step.event}{named}"


def _is_the_guest_s(step: Step) -> bool:
    """Whether what `step` writes to registers is the guest's."""
    return (
        step.side == "guest" or step.event == "VMRUN" or (step.event == "VMLOAD" and step.operand in _GUESTS)
    )


def left(machine: Machine) -> tuple[str, ...]:
    """The registers that hold a value of the guest's though the host runs, whole segments by one name."""
    if machine.side == "guest" or not _exits(machine):
        return ()
    guests: dict[str, bool] = {}
    for step in machine.trace:
        guests |= dict.fromkeys(step.names, _is_the_guest_s(step))
    start, now = at.REGISTERS_AT_START, machine.regs
    found = [name for name, is_guest_s in guests.items() if is_guest_s and now[name] != start[name]]
    return _whole(found)


def lost(machine: Machine) -> tuple[str, ...]:
    """What the guest changed of VMSAVE's set and its VMCB does not hold after its last exit."""
    exits = _exits(machine)
    if not exits:
        return ()
    changed: set[str] = set()
    held: dict[str, int] = {}
    for step in machine.trace[: exits[-1]]:
        held |= dict(zip(step.names, step.new, strict=True))
        if step.side == "guest":
            changed |= {name for name, _, _ in step.changes}
    vmcb = Vmcb(machine.memory, at.VMCB)
    return _whole([name for name in carried_by("VMSAVE") if name in changed and vmcb[name] != held[name]])


def _exits(machine: Machine) -> list[int]:
    """The steps at which a guest that ran came to its end."""
    return [
        k
        for k, step in enumerate(machine.trace)
        if step.event == "#VMEXIT" and step.value not in (EXITCODES["VMEXIT_INVALID"], 0xFFFF_FFFF)
    ]


def _whole(names: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.partition(".")[0] for name in names))


def carrier(name: str) -> str:
    """Who carries a register, or a segment register as a whole, across the switch."""
    return next(row.carrier for row in REGISTERS.values() if row.name.partition(".")[0] == name)


def sentences(machine: Machine) -> list[str]:
    """What a reader should not miss, a sentence each."""
    said = []
    guests = left(machine)
    if carried := [name for name in guests if carrier(name) == "VMSAVE"]:
        said.append(
            f"Still the guest's: {', '.join(carried)}. "
            "VMSAVE carries that: VMLOAD of the page that the host's VMSAVE filled brings the host's back."
        )
    if others := [name for name in guests if name not in carried]:
        said.append(
            f"Still the guest's: {', '.join(others)}. "
            "Neither #VMEXIT nor VMLOAD brings the host's back: software has to."
        )
    if names := lost(machine):
        said.append(
            f"Lost to the guest: {', '.join(names)}. Its VMCB does not hold what it left; "
            "VMSAVE of the VMCB comes after the VMRUN and before the host's VMLOAD."
        )
    if machine.pending:
        waiting = ", ".join("NMI" if event == "NMI" else "an interrupt" for event in machine.pending)
        said.append(f"Waiting at the end: {waiting}.")
    if not machine.gif:
        said.append("GIF is clear: NMIs and interrupts wait until STGI.")
    return said
