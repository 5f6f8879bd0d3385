"""When an exercise is due for whom: deadlines.csv, and which attempt counts.

    exercise,student,due,excused,zone
    01_legacy_path,all,2026-12-01 23:59,,Europe/Berlin
    01_legacy_path,s07,2026-12-08 23:59,,Europe/Berlin      an extension
    02_vmsave_vmload_path,s07,,yes,                         excused: it counts for nothing

A line for one student comes before the line for all; a blank `student` is all. `zone` is a name of the IANA
database, and blank is the class's own. Times are given to the minute or the second: for a deadline of 23:59,
23:59:01 is late.

The last attempt before one's own deadline counts. Where there is none, the last one of all counts, late.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from .. import release
from ..release import ReleaseError
from . import roster, tables
from .attempts import Attempt

ALL = "all"
HEADER = "exercise,student,due,excused,zone\n"
NEEDED = {"exercise", "student", "due"}
TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?")


class Deadline(NamedTuple):
    """When one student has to hand in one exercise; None: whenever they like."""

    due: datetime | None
    excused: bool = False


class Deadlines(NamedTuple):
    """A class's deadlines, by exercise and student."""

    lines: dict[tuple[str, str], Deadline]

    def of(self, exercise: str, student: str = ALL) -> Deadline:
        """The deadline of a student: their own line's, and what that leaves blank, everybody's."""
        everybody = self.lines.get((exercise, ALL), Deadline(None))
        own = self.lines.get((exercise, student), everybody)
        return own if own.due else own._replace(due=everybody.due)


def read(folder: Path, exercises: Iterable[str], students: Iterable[str]) -> Deadlines:
    """A class's deadlines; a line that means nothing is an error, for it was meant for somebody."""
    path = folder / "deadlines.csv"
    lines: dict[tuple[str, str], Deadline] = {}
    if not path.exists():
        return Deadlines(lines)
    (columns, rows), known, people = tables.table(path), set(exercises), set(students)
    if not set(columns) >= NEEDED:
        raise ReleaseError(
            f"{path}: its first line names the columns {HEADER.strip()}; here it is {','.join(columns)}"
        )
    zone = release.facts(folder).get("zone", "UTC")
    for number, row in rows:
        where = f"{path}, line {number}"
        exercise, student = row["exercise"], row["student"] or ALL
        if exercise not in known:
            raise ReleaseError(
                f'{where}, exercise: "{exercise}" is not released here; {", ".join(sorted(known))} are'
            )
        if student != ALL and people and student not in people:
            raise ReleaseError(f'{where}, student: nobody in students.csv is "{student}"')
        if (exercise, student) in lines:
            raise ReleaseError(f"{where}: a second line for {exercise} and {student}")
        excused = row.get("excused", "").lower()
        if excused not in ("", "yes", "no"):
            raise ReleaseError(f'{where}, excused: it is yes, no or blank, not "{excused}"')
        own = row.get("zone", "")
        at = time_zone(own or zone, f"{where}, zone" if own else f"{folder / 'class.json'}, zone")
        due = moment(row["due"], at, f"{where}, due") if row["due"] else None
        lines[exercise, student] = Deadline(due, excused == "yes")
    return Deadlines(lines)


def check(folder: Path) -> None:
    """Refuse a class whose deadlines.csv has a mistake, before anything is done by it."""
    if exercises := release.facts(folder)["exercises"]:
        read(folder, exercises, roster.read(folder))


def time_zone(name: str, where: str) -> ZoneInfo:
    """A zone of the IANA database; another name is refused, with where it stands."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ReleaseError(
            f'{where}: "{name}" is no time zone: a name such as Europe/Berlin or UTC'
        ) from None


def moment(text: str, at: ZoneInfo, where: str) -> datetime:
    """A local time of a zone, in UTC; one that the clocks skip is an error, one shown twice is the later."""
    if not TIME.fullmatch(text):
        raise ReleaseError(f'{where}: a time is written 2026-12-01 23:59, not "{text}"')
    try:
        local = datetime.fromisoformat(text).replace(tzinfo=at, fold=1)
    except ValueError as error:
        raise ReleaseError(f'{where}: "{text}": {error}') from None
    in_utc = local.astimezone(UTC)
    if in_utc.astimezone(at).replace(tzinfo=None) != local.replace(tzinfo=None):
        raise ReleaseError(f"{where}: {text} does not exist in {at.key}: the clocks go forward then")
    return in_utc


class Choice(NamedTuple):
    """The attempt that counts, the time that counts for it, the deadline, and what is to be said of it."""

    attempt: Attempt
    when: datetime
    deadline: Deadline
    remarks: tuple[str, ...] = ()

    @property
    def seconds_late(self) -> float:
        """How late it is; 0 where there is no deadline, or it was kept."""
        return max(0.0, (self.when - self.deadline.due).total_seconds()) if self.deadline.due else 0.0


def choose(attempts: list[Attempt], deadlines: Deadlines) -> Choice:
    """The attempt of one student at one exercise that counts.

    An LMS that packs no times says only whether an attempt was late for everybody's deadline. One that was
    not counts as handed in by then; one that was, as handed in when the archive was made, and says so.
    """
    first = attempts[0]
    own, everybody = deadlines.of(first.exercise, first.student), deadlines.of(first.exercise)
    timed = []
    for one in attempts:
        known_in_time = not one.exact and not one.late and everybody.due is not None
        timed.append((min(one.when, everybody.due) if known_in_time and everybody.due else one.when, one))
    timed.sort()
    in_time = [(when, one) for when, one in timed if own.due is None or when <= own.due]
    when, counts = (in_time or timed)[-1]
    remarks = []
    if len(in_time or timed) < len(timed):
        remarks.append(
            f"{_many(len(timed) - len(in_time or timed), 'later attempt')} came after the deadline"
        )
    if not in_time:
        remarks.append(f"late by {_span((when - own.due).total_seconds())}" if own.due else "")
        if not counts.exact:
            remarks.append("its time is not known: counted as of when the archive was made")
    return Choice(counts, when, own, tuple(filter(None, remarks)))


def _many(count: int, word: str) -> str:
    return f"{count} {word}{'s' * (count != 1)}"


def _span(seconds: float) -> str:
    """A time in its two largest units: 3 d 4 h."""
    rest, parts = int(seconds), []
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "under a second"
