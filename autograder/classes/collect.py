"""What came in, matched to students and exercises: by ids and names, and by what is in the file.

Every file has an outcome, and none is dropped in silence:

    taken             it is an attempt now
    renamed           taken, under the exercise that its cells belong to
    duplicate         taken, and its bytes are those of another student's file
    again             this student's same bytes are here already
    unknown student   kept in unknown/
    unknown exercise  kept in unknown/
    no notebook       only named
    refused           only named, with why: a name in an archive that leads out of it

Hidden files, such as Jupyter's checkpoints, are no submission and are passed over.
"""

import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from .. import release
from ..submissions import LARGEST
from . import attempts, layouts, roster, tables
from .attempts import Attempt
from .layouts import Found
from .roster import Student

GRADE_ID = re.compile(r'"grade_id"\s*:\s*"([^"\\]{1,80})"')
CELL_ID = re.compile(r'"id"\s*:\s*"([^"\\]{1,80})"')
BEGIN = re.compile(r"""begin\(\\?["'](\w+)\\?["']""")
ANOTHER = re.compile(r"\d\d_\w+")
TAKEN = ("taken", "renamed", "duplicate")
OUTCOMES = (*TAKEN, "again", "unknown student", "unknown exercise", "no notebook", "refused")


class Entry(NamedTuple):
    """A file and what became of it."""

    outcome: str
    student: str
    exercise: str
    origin: str
    note: str = ""

    @property
    def is_odd(self) -> bool:
        """Whether somebody wants to read of it."""
        return self.outcome not in ("taken", "again")

    def __str__(self) -> str:
        """As it is told: what became of it, where it was, whose it is, and why."""
        whose = " ".join(filter(None, [self.student, self.exercise]))
        return (
            f"{self.outcome}: {self.origin}"
            + f" -> {whose}" * bool(whose)
            + f" ({self.note})" * bool(self.note)
        )


class Known(NamedTuple):
    """What a class knows to match files by."""

    students: dict[str, Student]
    exercises: dict[str, frozenset[str]]


def known(folder: Path) -> Known:
    """The class's students and the cell ids of its exercises."""
    exercises = {}
    for name in release.released(folder):
        text = (folder / "release" / name / f"{name}.ipynb").read_text(encoding="utf-8")
        exercises[name] = frozenset(
            cell["metadata"]["nbgrader"]["grade_id"]
            for cell in json.loads(text)["cells"]
            if "nbgrader" in cell["metadata"]
        )
    return Known(roster.read(folder), exercises)


def exercise_of(found: Found, exercises: dict[str, frozenset[str]]) -> str:
    """The exercise that a file is: what its cells say counts, then what it is called; "" for none.

    Read from the text and not from the JSON, so a file that was cut off is known, too.
    """
    text = found.data.decode("utf-8", errors="replace")
    begun = BEGIN.findall(text)
    if name := next((name for name in begun if name in exercises), ""):
        return name
    if any(ANOTHER.fullmatch(name) for name in begun):
        return ""  # exercises ask for functions of the same names: by its cells it would be one of ours
    ids = set(GRADE_ID.findall(text)) | set(CELL_ID.findall(text))
    shares = {name: len(ids & wanted) / len(wanted) for name, wanted in exercises.items() if wanted}
    best = sorted(shares, key=lambda name: shares[name], reverse=True)
    if best and shares[best[0]] >= 0.5 and (len(best) == 1 or shares[best[0]] > shares[best[1]]):
        return best[0]
    said = [found.exercise, *PurePosixPath(found.file).parts, PurePosixPath(found.file).stem]
    return next((name for name in exercises if any(name in part for part in said)), "")


def student_of(found: Found, known: Known) -> str:
    """The student that a file is from; "" for none. A class without a list takes everybody at their word."""
    who, students = found.who, known.students
    said = who.get("student", "")
    if prefix := who.get("prefix"):
        fits = [one for one in students if re.match(re.escape(one) + r"(?![A-Za-z0-9])", prefix)]
        cut = min((prefix.find(f"_{name}") for name in known.exercises if f"_{name}" in prefix), default=-1)
        guess = prefix[:cut] if cut > 0 else prefix.partition("_")[0]
        said = max(fits, key=len) if fits else guess
    if not students:
        said = said or roster.plain(who.get("name", ""))
        return said if roster.ID.fullmatch(said) else ""
    if said in students:
        return said
    by_id = [
        one.student
        for one in students.values()
        if any(who.get(name) and who[name] == getattr(one, name) for name in ("canvas", "moodle"))
    ]
    return by_id[0] if len(by_id) == 1 else by_name(who.get("name", ""), students.values())


def by_name(name: str, students: Iterable[Student]) -> str:
    """The one student of that name, in either order of its parts; nobody where two have it."""
    wanted = roster.plain(name)
    named = [
        one.student
        for one in students
        if wanted and wanted in (roster.plain(one.first + one.last), roster.plain(one.last + one.first))
    ]
    return named[0] if len(named) == 1 else ""


def collect(
    folder: Path,
    place: Path,
    *,
    kind: str = "",
    times: dict[str, datetime] | None = None,
    student: str = "",
    when: datetime | None = None,
) -> Iterator[Entry]:
    """Take what a folder or archive holds into the class; `student` and `when` say what the file does not.

    A run that was broken off is repeated: what is here already is `again`.
    """
    known_better: dict[str, Any] = {"who": {"student": student}} if student else {}
    known_better |= {"when": when, "exact": True} if when else {}
    from_unknown = place.resolve().parent == (folder / "unknown").resolve()
    for one in _collect(folder, (one._replace(**known_better) for one in layouts.read(place, kind, times))):
        yield one
        if from_unknown and one.outcome in (*TAKEN, "again"):
            place.unlink()


def fetched(folder: Path) -> None:
    """Take what nbgrader's own collect, or formgrader's button, has put into submitted/ since."""
    place = folder / "submitted"
    digests = {one.digest for one in attempts.read(folder)}
    if any(attempts.digest(path.read_bytes()) not in digests for path in place.glob("*/*/*.ipynb")):
        there = layouts.read(place, "course")
        list(_collect(folder, (one for one in there if attempts.digest(one.data) not in digests)))


def _collect(folder: Path, came_in: Iterable[Found]) -> Iterator[Entry]:
    wanted = known(folder)
    here = {(one.student, one.exercise, one.digest): one for one in attempts.read(folder)}
    owners = {one.digest: one.student for one in here.values()}
    try:
        for found in came_in:
            yield _take(folder, found, wanted, here, owners)
    finally:
        attempts.write(folder, here.values())


def _take(
    folder: Path,
    found: Found,
    wanted: Known,
    here: dict[tuple[str, str, str], Attempt],
    owners: dict[str, str],
) -> Entry:
    if found.refused:
        return Entry("refused", "", "", found.origin, found.refused)
    if not (found.file.lower().endswith(".ipynb") or b'"nbformat"' in found.data):
        return Entry("no notebook", "", "", found.origin)
    data = found.data[: LARGEST + 1]
    digest = attempts.digest(data)
    exercise, student = exercise_of(found, wanted.exercises), student_of(found, wanted)
    if not student or not exercise:
        _keep(folder, found, digest, student)
        note = f"the same file as {owners[digest]}'s" if digest in owners else ""
        outcome = "unknown exercise" if student else "unknown student"
        return Entry(outcome, student, exercise, found.origin, note)
    attempt = Attempt(
        student, exercise, found.when, found.exact, found.late, digest, found.file, found.origin
    )
    before = here.get((student, exercise, digest))
    if before and (before.exact or not found.exact):
        return Entry("again", student, exercise, found.origin)
    if before:
        (folder / "received" / before.place).unlink(missing_ok=True)
    attempts.store(folder, attempt, data)
    for known in (folder / "unknown").glob(f"{_sign(digest, student)}*"):
        known.unlink()  # its exercise was not released then
    here[student, exercise, digest] = attempt
    if before:
        return Entry("again", student, exercise, found.origin, "its exact time is known now")
    if (owner := owners.setdefault(digest, student)) != student:
        return Entry("duplicate", student, exercise, found.origin, f"the same file as {owner}'s")
    if PurePosixPath(found.file).name != f"{exercise}.ipynb":
        return Entry("renamed", student, exercise, found.origin, f"it was {PurePosixPath(found.file).name}")
    return Entry("taken", student, exercise, found.origin)


def _keep(folder: Path, found: Found, digest: str, student: str) -> None:
    """Keep a file that is nobody's or no exercise's, with its origin, until somebody says what it is."""
    place = folder / "unknown"
    place.mkdir(mode=0o700, exist_ok=True)
    name = _plain(PurePosixPath(found.file).name)
    name = re.sub(rf"^{digest[:12]}(-|=[^=]*=)", "", name)  # it may come from here
    if student or not any(path.name.endswith(name) for path in place.glob(f"{digest[:12]}*")):
        (place / f"{_sign(digest, student)}{name}"[:100]).write_bytes(found.data)


def _sign(digest: str, student: str = "") -> str:
    """How the names begin under which somebody's file is kept in unknown/."""
    return f"{digest[:12]}={_plain(student)}=" if student else f"{digest[:12]}-"


def kept_of(folder: Path, student: str) -> list[Path]:
    """The files in unknown/ that are a student's, but of no exercise that is released."""
    return sorted((folder / "unknown").glob("?" * 12 + f"={_plain(student)}=*"))


def _plain(name: str) -> str:
    return re.sub(r"[^\w.=-]", "_", name)


def worksheet_times(path: Path, zone: ZoneInfo) -> dict[str, datetime]:
    """The exact time of each submission in a Moodle grading worksheet, by Moodle's number."""
    from dateutil import parser

    times = {}
    rows = tables.read(path)
    column = "Last modified (submission)"
    if not rows or not {"Identifier", column} <= set(rows[0]):
        raise release.ReleaseError(f"{path} is no Moodle grading worksheet: it needs Identifier and {column}")
    for row in rows:
        number = re.search(r"\d+", row["Identifier"])
        if number and row[column] not in ("", "-"):
            try:
                when = parser.parse(row[column], fuzzy=True)
            except ValueError:
                raise release.ReleaseError(f'{path}: "{row[column]}" is no time that is known here') from None
            times[number[0]] = when.replace(tzinfo=zone).astimezone(UTC)
    return times
