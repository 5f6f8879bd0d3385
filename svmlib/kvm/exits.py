"""Exits: how an entry of a vCPU ends, what arrives meanwhile, and the words that say so."""

import re
from typing import Any, NamedTuple

#: EXITCODEs: a CPUID is handled in the kernel, port I/O goes to user space, and the timer's interrupt ends
#: the time slice: another thread runs.
EXITCODES = {"kernel": 0x72, "user": 0x7B, "sched": 0x60}
#: Events that may arrive, as they wait in a processor; the interrupt's vector is Linux's for the timer.
ARRIVALS: dict[str, Any] = {"NMI": "NMI", "#MC": "#MC", "INTR": ("INTR", 0xEC), "SMI": "SMI"}
#: Exits of guests that run guests (nested.py), on hosts with Host.nested: L1's VMRUN or L2's exit to L1;
#: VMLOAD and VMSAVE of a page of the guest's own; VMSAVE with the address of one of the host's.
NESTED_KINDS = {"nested": 0x80, "vmload": 0x82, "vmsave": 0x83, "escape": 0x83}
#: What else may arrive when it is asked for: the interrupt by which a rebooting CPU stops the others.
MORE_ARRIVALS: dict[str, Any] = {"REBOOT": ("INTR", 0xF8)}
_NAMES = {name.lstrip("#").lower(): name for name in (*ARRIVALS, *MORE_ARRIVALS)}
_ARRIVAL = re.compile(rf"\+({'|'.join(_NAMES)})(?:\.([0-9]+))?")


class Exit(NamedTuple):
    """One entry of a vCPU, and how it ends."""

    #: "kernel": handled in the kernel and entered again; "user": goes on to user space; "sched": another
    #: thread of the host's gets the CPU.
    kind: str = "kernel"
    #: Whether an NMI becomes pending while GIF is clear.
    nmi: bool = False
    #: The CPU it runs on; a vCPU found on another one is scheduled out there first.
    cpu: int = 0
    vcpu: int = 0
    #: What else arrives: (name in ARRIVALS, number of steps of this exit before it, or None for while the
    #: guest runs), in the order of the steps.
    arrivals: tuple[tuple[str, int | None], ...] = ()

    def __str__(self) -> str:
        """Write it as `exits` reads it."""
        arrivals = [
            f"+{name.lstrip('#').lower()}" + f".{at}" * (at is not None) for name, at in self.arrivals
        ]
        suffix = "+nmi" * self.nmi + "".join(arrivals)
        return self.kind + suffix + f"@{self.cpu}" * bool(self.cpu) + f"#{self.vcpu}" * bool(self.vcpu)


class ExitRecord(NamedTuple):
    """An exit that ran: what it was, and its steps, trace[first:last]."""

    kind: str
    nmi: bool
    cpu: int
    vcpu: int
    arrivals: tuple[tuple[str, int | None], ...]
    first: int
    last: int


def exits(*words: str) -> list[Exit]:
    """Read exits as words: "kernel", "user", "sched", with "+nmi", "@CPU" and "#vCPU" behind, in any order.

    "+mc", "+intr" and "+smi" are the other events that may come while the guest runs; with ".N" behind, an
    event comes when N steps of the exit are done.

    >>> [str(exit_) for exit_ in exits("kernel+nmi", "user@1+mc.12")]
    ['kernel+nmi', 'user+mc.12@1']

    Raises ValueError, with the word, for anything else.
    """
    return [_exit(word) for word in words]


def _exit(word: str) -> Exit:
    kind, *suffixes = re.split(r"(?=[+@#])", word) if isinstance(word, str) else ["no word"]
    fields: dict[str, int] = {}
    nmi, arrivals = False, []
    for suffix in suffixes:
        arrival = _ARRIVAL.fullmatch(suffix)
        if suffix == "+nmi":
            nmi = True
        elif arrival:
            arrivals.append((_NAMES[arrival[1]], int(arrival[2]) if arrival[2] else None))
        elif suffix[0] in "@#" and suffix[1:].isdecimal():
            fields["cpu" if suffix[0] == "@" else "vcpu"] = int(suffix[1:])
        else:
            kind = ""
    if kind not in EXITCODES and kind not in NESTED_KINDS:
        raise ValueError(
            f"no exit {word!r:.60}; write kernel or user, then +nmi, @CPU, #vCPU, as in user+nmi@1; "
            "or sched; +mc +intr +smi are events, too, and +nmi.12 comes after 12 steps"
        )
    arrivals.sort(key=lambda arrival: -1 if arrival[1] is None else arrival[1])
    return Exit(kind, nmi, fields.get("cpu", 0), fields.get("vcpu", 0), tuple(arrivals))
