"""What makes a world switch cost what it costs, as terms that are switched on and off on a bill.

data/terms.csv names them: the instruction; what a serialising write waits for; cache lines and TLB entry of
VMSAVE's and VMLOAD's page; LTR; the kernel's code around a path; user space and the way there.  A term is a
set of events, so a bill with other terms is another vector of counts on the same price list.
"""

from collections import Counter
from typing import NamedTuple

from ..data import rows
from .cache import Cache

_EVENTS = {row["term"]: tuple(filter(None, row["events"].split(";"))) for row in rows("terms")}
#: Events that are no instruction of a path: what stands around it, and what a cold page costs.
AROUND = frozenset(event for term in ("cache", "kvm", "user space") for event in _EVENTS[term])
#: The writes that wait, all their variants, and what one costs that does not.
_SERIALISES, UNDRAINED = "WRMSR", "WRMSR undrained"


class Terms(NamedTuple):
    """The terms of a bill.  As they are here, a bill is that of the path's own instructions, all warm."""

    #: What every path pays: VMRUN, #VMEXIT, the guest's own VMLOAD and VMSAVE, STI and CLI.
    switch: bool = True
    #: A write to an MSR waits for all before it.
    drain: bool = True
    #: LTR, where the path has it.
    ltr: bool = True
    #: The cache whose state is carried through the trace; None: every page is warm.
    cache: Cache | None = None
    #: KVM's code around the path.
    kvm: bool = False
    #: The way to user space and back, and what runs there.
    user_space: bool = False


#: The terms of a plain bill.
PLAIN = Terms()


def switched(event: str, operand: object, guest: object, terms: Terms) -> str | None:
    """Return the event that stands for a path's `event` under `terms`; None where it is left out.

    `guest` is the address of the guest's page, with which VMLOAD and VMSAVE are a part of the switch.
    """
    if not terms.switch and (event in _EVENTS["switch"] or (guest is not None and operand == guest)):
        return None
    if event == "LTR" and not terms.ltr:
        return None
    if event.partition(" ")[0] == _SERIALISES and not terms.drain:
        return UNDRAINED
    return event


def around(exits: int, users: int, terms: Terms) -> dict[str, Counter[str]]:
    """Return what stands around a path on `exits` exits, `users` of them to user space: part -> events."""
    parts: dict[str, Counter[str]] = {}
    if terms.kvm:
        before, after, inside = _EVENTS["kvm"][:3]
        parts["KVM"] = +Counter({before: users, after: users, inside: exits - users})
    if terms.user_space:
        (away,) = _EVENTS["user space"]
        parts["user space"] = +Counter({away: users})
    return parts


def events_of(term: str) -> tuple[str, ...]:
    """Return the events of a term of data/terms.csv; KeyError names the terms there are."""
    try:
        return _EVENTS[term]
    except KeyError:
        raise KeyError(f"no term {term!r}; there is {', '.join(_EVENTS)}") from None
