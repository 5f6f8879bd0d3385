"""What grading said of each submission: outcomes.jsonl, a line each, the last one of a submission counts.

The gradebook has the marks; here is what it has no place for: which attempt was graded, why one failed, what
was mended, the reason of each mark, the bill, and how long it took. A line that was cut off by a crash is
ignored: its submission is graded again.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from .. import release

NAME = "outcomes.jsonl"


class Outcome(NamedTuple):
    """A submission's outcome; `reasons` says of each graded cell why it got what it got."""

    student: str
    exercise: str
    digest: str
    status: str
    reason: str = ""
    remarks: tuple[str, ...] = ()
    reasons: Mapping[str, str] = MappingProxyType({})
    seconds: float = 0.0
    instructions: int = 0
    #: Of each kind of exit, the ticks on the bill of the learner's path and on the reference's.
    bills: Mapping[str, tuple[float, float]] = MappingProxyType({})
    #: What the kernel protected from it.
    layers: tuple[str, ...] = ()


def read(folder: Path) -> dict[tuple[str, str], Outcome]:
    """The last outcome of each submission."""
    found: dict[tuple[str, str], Outcome] = {}
    try:
        lines = (folder / NAME).read_bytes().split(b"\n")
    except FileNotFoundError:
        return found
    for line in lines:
        try:
            fields = json.loads(line)
            tuples = {"remarks": tuple(fields["remarks"]), "layers": tuple(fields.get("layers", ()))}
            one = Outcome(**(fields | tuples))
        except (ValueError, TypeError, KeyError):
            continue
        found[one.student, one.exercise] = one
    return found


def _line(one: Outcome) -> str:
    return (
        json.dumps(
            one._asdict() | {"reasons": dict(one.reasons), "bills": dict(one.bills)}, ensure_ascii=False
        )
        + "\n"
    )


def append(folder: Path, outcomes: Iterable[Outcome]) -> None:
    """Add outcomes, on the disk before this returns."""
    text = "".join(_line(one) for one in outcomes)
    path = folder / NAME
    with open(path, "a+b", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        if file.tell() and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
            file.write(b"\n")  # what was cut off stays a line of its own
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def rewrite(folder: Path, outcomes: Iterable[Outcome]) -> None:
    """Leave one line for each submission."""
    release.write(folder / NAME, "".join(_line(one) for one in outcomes))
