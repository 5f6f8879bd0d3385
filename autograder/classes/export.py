"""Marks for the systems that keep them: Canvas's and Moodle's gradebook files, plain CSV, JSON.

    canvas     Student, ID, SIS User ID, SIS Login ID, Section, a column an exercise; then Points Possible
    moodle     First name, Last name, ID number, Email address, a column an exercise: Grades > Import > CSV
    worksheet  an assignment's grading worksheet, given back with its Grade column filled
    csv, json  every column that report.py describes

What is not final is blank, never 0: a blank leaves the LMS as it is. An excused one is EX in Canvas, which
is Canvas's own word for it, and blank elsewhere. With the LMS's own exported file the columns are named as
there, so that the import finds its assignments.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from .. import report
from ..release import ReleaseError
from ..report import Row
from . import roster, tables
from .roster import Student

FORMATS = ("canvas", "moodle", "worksheet", "csv", "json")
CANVAS = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section"]
MOODLE = ["First name", "Last name", "ID number", "Email address"]
DECIMALS = 4  # what both systems keep


class Made(NamedTuple):
    """An exported file's text, and whom it leaves out because the LMS's list did not have them."""

    text: str
    left_out: list[str]


def mark(row: Row | None, blank: str = "") -> str:
    """A final mark as an LMS reads it; blank for all else."""
    if row is None or row.final is None:
        return blank if row is not None and row.status == "excused" else ""
    return f"{round(row.final, DECIMALS):g}"


def columns(exercises: Iterable[str], titles: dict[str, str], theirs: list[str]) -> dict[str, str]:
    """The LMS's name for each exercise's column: the one in its own file that names it, else the title.

    Two columns that fit are an error, for a mark in the wrong column is worse than none.
    """
    found = {}
    for exercise in exercises:
        names = {roster.plain(exercise), roster.plain(titles[exercise])}
        fits = [
            column
            for column in theirs
            if any(name and name in roster.plain(re.sub(r"\(\w+\)\s*$", "", column)) for name in names)
        ]
        exact = [one for one in fits if roster.plain(re.sub(r"\(\w+\)\s*$", "", one)) in names]
        fits = exact or fits
        if len(fits) > 1:
            raise ReleaseError(
                f"{exercise} could be each of the columns {', '.join(fits)}: rename one in the LMS, "
                "or export one exercise at a time"
            )
        if theirs and not fits:
            raise ReleaseError(
                f"the LMS's file has no column for {exercise} ({titles[exercise]}). Make an "
                "assignment of that name there first, name the others with --exercise, or leave out "
                "--gradebook: the import then makes one"
            )
        found[exercise] = fits[0] if fits else titles[exercise]
    return found


def _begun(rows: list[Row]) -> list[str]:
    """The exercises that somebody has handed in or is excused of: an LMS needs no column for the others."""
    return sorted({row.exercise for row in rows if row.status != "missing"})


def canvas(
    rows: list[Row], students: dict[str, Student], titles: dict[str, str], theirs: list[dict[str, str]]
) -> Made:
    """Canvas's gradebook: Grades > Import."""
    by_place = {(row.student, row.exercise): row for row in rows}
    exercises = _begun(rows)
    if theirs and "Student" not in theirs[0]:
        raise ReleaseError("--gradebook is not Canvas's: it has no column Student; there: Grades > Export")
    names = columns(exercises, titles, [name for name in theirs[0] if name not in CANVAS] if theirs else [])
    points = {"Student": "    Points Possible"}
    for exercise in exercises:
        worth = max((row.out_of for row in rows if row.exercise == exercise), default=0)
        points[names[exercise]] = f"{worth:g}" if worth else ""
    made, left_out = [points], []
    for student in sorted({row.student for row in rows}):
        one = students.get(student)
        if one is None or not (one.canvas or one.sis or one.login):
            left_out.append(student)
            continue
        line = {
            "Student": tables.inert(f"{one.last}, {one.first}" if one.last or one.first else student),
            "ID": one.canvas,
            "SIS User ID": one.sis,
            "SIS Login ID": one.login,
            "Section": tables.inert(one.section),
        }
        line |= {names[name]: mark(by_place.get((student, name)), "EX") for name in exercises}
        made.append(line)
    return Made(tables.write(made, [*CANVAS, *(names[name] for name in exercises)]), left_out)


def moodle(
    rows: list[Row], students: dict[str, Student], titles: dict[str, str], theirs: list[dict[str, str]]
) -> Made:
    """Moodle's gradebook: Grades > Import > CSV file, matched by address or ID number."""
    by_place = {(row.student, row.exercise): row for row in rows}
    exercises = _begun(rows)
    items = [name for name in theirs[0] if name.endswith("(Real)")] if theirs else []
    if theirs and not items:
        raise ReleaseError(
            "--gradebook is not Moodle's: no column ends in (Real); there: Grades > Export > Plain text"
        )
    names = columns(exercises, titles, items)
    names = {
        name: column if column in items else f"Assignment: {column} (Real)" for name, column in names.items()
    }
    made, left_out = [], []
    for student in sorted({row.student for row in rows}):
        one = students.get(student)
        if one is None or not (one.email or one.number):
            left_out.append(student)
            continue
        line = dict(zip(MOODLE, map(tables.inert, (one.first, one.last, one.number, one.email)), strict=True))
        line |= {names[name]: mark(by_place.get((student, name))) for name in exercises}
        made.append(line)
    return Made(tables.write(made, [*MOODLE, *(names[name] for name in exercises)]), left_out)


def worksheet(rows: list[Row], students: dict[str, Student], theirs: list[dict[str, str]]) -> Made:
    """Moodle's grading worksheet: lines and columns as they came, Grade filled where it is final."""
    if not theirs or not {"Identifier", "Grade"} <= set(theirs[0]):
        raise ReleaseError(
            "a grading worksheet is given back filled: name it with --gradebook FILE. It has the columns "
            "Identifier and Grade; Moodle: the assignment > Download grading worksheet"
        )
    if len({row.exercise for row in rows}) != 1:
        raise ReleaseError("a grading worksheet is of one assignment: choose it with --exercise NAME")
    _require_room(rows, theirs)
    by_student = {row.student: row for row in rows}
    by_number = {one.moodle: one.student for one in students.values() if one.moodle}
    by_email = {one.email.casefold(): one.student for one in students.values() if one.email}
    seen, made = set(), []
    for line in theirs:
        number = re.search(r"\d+", line["Identifier"])
        student = by_email.get(line.get("Email address", "").casefold()) or by_number.get(
            number[0] if number else ""
        )
        seen.add(student)
        filled = mark(by_student.get(student or ""))
        made.append(line | ({"Grade": filled} if filled else {}))
    left_out = sorted(by_student.keys() - seen)
    return Made(tables.write(made, list(theirs[0])), left_out)


def _require_room(rows: list[Row], theirs: list[dict[str, str]]) -> None:
    """Moodle takes no grade above the assignment's maximum, and scales none."""
    most = [theirs[0][name] for name in theirs[0] if name.casefold() == "maximum grade"]
    worth = max((row.out_of for row in rows), default=0)
    try:
        is_small = bool(most) and float(most[0].replace(",", ".")) < worth
    except ValueError:  # a scale in words
        return
    if is_small:
        raise ReleaseError(
            f"the worksheet's assignment gives at most {most[0]}, {rows[0].exercise} {worth:g}: Moodle would "
            f"refuse marks. Set its maximum grade to {worth:g} there, then download the worksheet again"
        )


def export(
    rows: list[Row],
    students: dict[str, Student],
    titles: dict[str, str],
    *,
    to: str,
    gradebook: Path | None = None,
) -> Made:
    """The rows in a format; `gradebook` is the file that the LMS exported."""
    theirs = tables.read(gradebook) if gradebook else []
    if to == "canvas":
        return canvas(rows, students, titles, theirs)
    if to == "moodle":
        return moodle(rows, students, titles, theirs)
    if to == "worksheet":
        return worksheet(rows, students, theirs)
    return Made(report.as_json(rows) + "\n" if to == "json" else report.as_csv(rows), [])
