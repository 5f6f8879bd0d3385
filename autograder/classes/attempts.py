"""What a class has received: received/STUDENT/EXERCISE/TIME-DIGEST.ipynb, a line each in attempts.csv.

Nothing that came in is overwritten, so an extension granted later finds the attempt that it makes count.
"""

import hashlib
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from .. import release
from ..release import ReleaseError
from . import tables

COLUMNS = ["student", "exercise", "when", "exact", "late", "digest", "name", "origin"]


class Attempt(NamedTuple):
    """A notebook that came in: whose, when, whether that time is exact, whether an LMS called it late."""

    student: str
    exercise: str
    when: datetime
    exact: bool
    late: bool
    digest: str
    name: str
    origin: str

    @property
    def place(self) -> str:
        """Where it lies in received/."""
        return f"{self.student}/{self.exercise}/{self.when:%Y%m%dT%H%M%SZ}-{self.digest[:12]}.ipynb"


def digest(data: bytes) -> str:
    """What tells one file from another."""
    return hashlib.sha256(data).hexdigest()


def read(folder: Path) -> list[Attempt]:
    """All attempts of a class."""
    path = folder / "received" / "attempts.csv"
    if not path.exists():
        return []
    try:
        return [
            Attempt(
                row["student"],
                row["exercise"],
                datetime.fromisoformat(row["when"]),
                row["exact"] == "yes",
                row["late"] == "yes",
                row["digest"],
                row["name"],
                row["origin"],
            )
            for row in tables.read(path)
        ]
    except (KeyError, ValueError) as error:
        raise ReleaseError(
            f"{path} is damaged ({error}): move received/ away and collect all again"
        ) from None


def write(folder: Path, attempts: Iterable[Attempt]) -> None:
    """Write a class's attempts; the folder's files are not touched."""
    rows = [
        one._asdict()
        | {
            "when": one.when.isoformat(),
            "exact": "yes" if one.exact else "no",
            "late": "yes" if one.late else "no",
        }
        for one in sorted(attempts)
    ]
    (folder / "received").mkdir(mode=0o700, exist_ok=True)
    release.write(folder / "received" / "attempts.csv", tables.write(rows, COLUMNS))


def store(folder: Path, attempt: Attempt, data: bytes) -> None:
    """Put an attempt's bytes where they belong, whole or not at all."""
    path = folder / "received" / attempt.place
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(data)
    part.replace(path)


def path(folder: Path, attempt: Attempt) -> Path:
    """The file of an attempt; ReleaseError where it is gone."""
    found = folder / "received" / attempt.place
    if not found.is_file():
        raise ReleaseError(
            f"received/{attempt.place} is in attempts.csv and not in the folder: collect it again"
        )
    return found


def load(folder: Path, attempt: Attempt) -> bytes:
    """The bytes of an attempt."""
    return path(folder, attempt).read_bytes()
