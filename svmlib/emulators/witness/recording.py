"""The recording of a kernel as text that a person reads and a test parses."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

#: What the two kinds of exit are, in the recording's order; named as in svmlib.kvm.
KINDS = {
    "kernel": "CPUID: the exit is handled in the kernel, and the guest entered again",
    "user": "OUT: the exit goes to user space, which calls KVM_RUN again",
}

_HEAD = """\
What a Linux kernel executes between two VMRUNs: from the instruction after VMRUN to the next VMRUN.
Made by python -m svmlib.emulators.witness; do not edit.

Listed are instructions on SVM state, MSRs, segments and their bases, control and debug registers, extended
state, the interrupt flag, the way to user space and back, CPUID and the time stamp counter.  Not listed is
everything else, which the numbers count; a repeated string instruction counts once.  A round trip is
identical to another when it executes the same instructions of the list, at the same places and each after the
same number of instructions.

"""
_COLUMNS = " line    after  instruction         function"
_LINE = re.compile(r" *(\d+) +(\d+)  (\S.*?)  +(\S.*)")


class Line(NamedTuple):
    """An instruction of a round trip."""

    #: Its number among all instructions since #VMEXIT, from 1.
    after: int
    #: As "VMRUN", "MOV FS,r", "WRMSR TSC_AUX".
    instruction: str
    #: Function and offset, and the module in brackets: "svm_vcpu_run+0x1f [kvm_amd]".
    place: str

    @property
    def function(self) -> str:
        """The function's name alone."""
        return self.place.partition("+")[0]


class RoundTrip(NamedTuple):
    """The round trip that most exits of a kind made."""

    #: How many of the kind there were, and how many were identical to this.
    recorded: int
    identical: int
    #: All instructions of this one, at kernel addresses and at user addresses.
    kernel: int
    user: int
    lines: list[Line]


class Recording(NamedTuple):
    """What made it, by name, and a round trip for each of KINDS."""

    made_by: Mapping[str, str]
    trips: Mapping[str, RoundTrip]

    def __str__(self) -> str:
        """The recording's text."""
        made_by = "".join(f"{name}: {value}\n" for name, value in self.made_by.items())
        return _HEAD + made_by + "".join(_section(kind, self.trips[kind]) for kind in KINDS)


def _section(kind: str, trip: RoundTrip) -> str:
    lines = [
        f"  {number:3}  {line.after:7}  {line.instruction:18}  {line.place}"
        for number, line in enumerate(trip.lines, 1)
    ]
    head = [
        "",
        f"[{kind}]  {KINDS[kind]}",
        f"round trips: {trip.recorded}",
        f"identical: {trip.identical}",
        f"instructions in the kernel: {trip.kernel}",
        f"instructions in user space: {trip.user}",
        f"listed: {len(lines)}",
        "",
        _COLUMNS,
    ]
    return "\n".join([*head, *lines]) + "\n"


def read(file: Path) -> Recording:
    """Read a recording; ValueError where it is not as `str` writes it."""
    text = file.read_text(encoding="utf-8")
    head, *sections = re.split(r"^\[(\w+)\].*$", text, flags=re.MULTILINE)
    trips = dict(zip(sections[::2], (_trip(section) for section in sections[1::2]), strict=True))
    if set(trips) != set(KINDS) or text != str(found := Recording(_named(head), trips)):
        raise ValueError(
            f"{file} is no recording, or was edited: python -m svmlib.emulators.witness makes one"
        )
    return found


def _named(text: str) -> dict[str, str]:
    return dict(re.findall(r"^(\w[\w ]*): (\S.*)$", text.removeprefix(_HEAD), flags=re.MULTILINE))


def _trip(section: str) -> RoundTrip:
    named = _named(section)
    lines = [
        Line(int(match[2]), match[3], match[4])
        for match in map(_LINE.fullmatch, section.splitlines())
        if match
    ]
    names = ("round trips", "identical", "instructions in the kernel", "instructions in user space")
    numbers = [int(named.get(name, -1)) for name in names]
    return RoundTrip(numbers[0], numbers[1], numbers[2], numbers[3], lines)
