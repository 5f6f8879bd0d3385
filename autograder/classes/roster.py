"""Who is in a class: students.csv, from the lists that learning management systems hand out.

    student     the id that nbgrader, the exchange and the class folder use
    first, last, email, section
    login, sis, canvas      Canvas's SIS Login ID, SIS User ID and ID
    username, number, moodle    Moodle's username, ID number and "Participant" number
    listed      "no" for a student whom the last list no longer had

Canvas's list is its exported gradebook. Moodle's is the participants' table, an exported gradebook, or an
assignment's grading worksheet. A plain list needs a column `student`.
"""

import hashlib
import hmac
import re
import unicodedata
from base64 import b32encode
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from .. import release
from ..release import ReleaseError
from . import tables

ID = re.compile(r"\w[\w.@-]*")
ID_RULE = "letters, digits and . _ @ - only, a letter or digit first"


class Student(NamedTuple):
    """A student of a class, with the ids that others know them by."""

    student: str
    first: str = ""
    last: str = ""
    email: str = ""
    section: str = ""
    login: str = ""
    sis: str = ""
    canvas: str = ""
    username: str = ""
    number: str = ""
    moodle: str = ""
    listed: str = "yes"

    @property
    def name(self) -> str:
        """First and last name, or the id where the list had none."""
        return f"{self.first} {self.last}".strip() or self.student


class Layout(NamedTuple):
    """How to know a list, which of its columns hold what, and which of them may be the student's id."""

    name: str
    known_by: frozenset[str]
    columns: dict[str, str]
    ids: tuple[str, ...]


MOODLE = {
    "First name": "first",
    "Last name": "last",
    "Surname": "last",
    "Email address": "email",
    "ID number": "number",
    "Username": "username",
    "Groups": "section",
}
LAYOUTS = (
    Layout(
        "Canvas gradebook",
        frozenset({"Student", "ID", "Section"}),
        {
            "ID": "canvas",
            "SIS User ID": "sis",
            "SIS Login ID": "login",
            "Section": "section",
            "Email": "email",
        },
        ("login", "sis", "canvas"),
    ),
    Layout(
        "Moodle grading worksheet",
        frozenset({"Identifier", "Full name"}),
        {"Email address": "email", "ID number": "number", "Username": "username"},
        ("username", "number", "email", "moodle"),
    ),
    Layout(
        "list of Moodle participants",
        frozenset({"First name", "Email address"}),
        MOODLE,
        ("username", "number", "email"),
    ),
    Layout(
        "plain list",
        frozenset({"student"}),
        {name: name for name in Student._fields if name != "student"},
        (),
    ),
)
NOT_STUDENTS = re.compile(r"^\s*Points Possible\b|^Student, Test$|^Test Student$", re.IGNORECASE)


def layout_of(path: Path, rows: list[dict[str, str]]) -> Layout:
    """Which list this is; ReleaseError names its columns and those that one of the known lists has."""
    names = set(rows[0]) if rows else set()
    for layout in LAYOUTS:
        if layout.known_by <= names:
            return layout
    known = "; ".join(f"{one.name}: {', '.join(sorted(one.known_by))}" for one in LAYOUTS)
    raise ReleaseError(
        f"{path} is none of the lists known here. Its columns: {', '.join(sorted(names)) or 'none'}. "
        f"Wanted: {known}. Export the list in English, or rename the columns"
    )


def import_list(path: Path, id_column: str = "") -> tuple[str, list[Student]]:
    """The students of a list, and which kind of list it was; `id_column` names the column of their ids."""
    rows = tables.read(path)
    layout = layout_of(path, rows)
    if id_column and id_column not in rows[0]:
        raise ReleaseError(f"{path} has no column {id_column}; it has {', '.join(rows[0])}")
    students = []
    for row in rows:
        if NOT_STUDENTS.match(row.get("Student", row.get("Full name", ""))):
            continue
        fields = {ours: row.get(theirs, "") for theirs, ours in layout.columns.items() if row.get(theirs)}
        fields |= _named(row)
        student = row.get(id_column or "student", "") or next(
            (fields[name] for name in layout.ids if fields.get(name)), ""
        )
        if not ID.fullmatch(student):
            raise ReleaseError(
                f'{path}: "{student}" in the line of {" ".join(filter(None, row.values()))[:60]} cannot be '
                f"an id: {ID_RULE}. Choose the column of the ids with --id COLUMN"
            )
        students.append(Student(**(fields | {"student": student})))
    ids = [one.student for one in students]
    if twice := sorted({one for one in ids if ids.count(one) > 1}):
        raise ReleaseError(f"{path} has these ids twice: {', '.join(twice[:5])}. Choose another with --id")
    return layout.name, students


def _named(row: dict[str, str]) -> dict[str, str]:
    """First and last name, and Moodle's number, where a list has them in one column."""
    if "Student" in row:
        last, _, first = row["Student"].partition(",")
        return {"first": first.strip(), "last": last.strip()}
    if "Full name" in row:
        first, _, last = row["Full name"].rpartition(" ")
        found = re.search(r"\d+", row.get("Identifier", ""))
        return {"first": first, "last": last, "moodle": found[0] if found else ""}
    return {}


def read(folder: Path) -> dict[str, Student]:
    """The students of a class by their ids; empty where the class has no list."""
    path = folder / "students.csv"
    if not path.exists():
        return {}
    rows = tables.read(path)
    if rows and "student" not in rows[0]:
        raise ReleaseError(f"{path} needs a column `student`; it has {', '.join(rows[0])}")
    students = {
        row["student"]: Student(**{name: row[name] for name in Student._fields if name in row})
        for row in rows
    }
    if wrong := [one for one in students if not ID.fullmatch(one)]:
        raise ReleaseError(f'{path}: "{wrong[0]}" cannot be a student\'s id: {ID_RULE}')
    return students


def write(folder: Path, students: Iterable[Student]) -> None:
    """Write a class's students, in the order of their ids."""
    rows = [one._asdict() for one in sorted(students)]
    release.write(folder / "students.csv", tables.write(rows, list(Student._fields)))


class Changes(NamedTuple):
    """What a list changed in a class."""

    added: list[str]
    changed: list[str]
    gone: list[str]


def merge(folder: Path, listed: list[Student]) -> Changes:
    """Take a list into the class: new students are added, known ones completed, nobody is deleted."""
    known = read(folder)
    listed = _under_known_ids(known, listed)
    _refuse_the_same_people(known, listed)
    added, changed = [], []
    for one in listed:
        before = known.get(one.student)
        filled = {name: value for name, value in one._asdict().items() if value}
        after = before._replace(**filled) if before else one
        if before is None:
            added.append(one.student)
        elif after != before:
            changed.append(one.student)
        known[one.student] = after
    gone = sorted(known.keys() - {one.student for one in listed})
    for student in gone:
        known[student] = known[student]._replace(listed="no")
    write(folder, known.values())
    return Changes(added, changed, gone)


def _under_known_ids(known: dict[str, Student], listed: list[Student]) -> list[Student]:
    """The list with the class's ids: another list of the same system may lack the column they came from."""
    here = {one.student for one in listed}
    owners: dict[tuple[str, str], set[str]] = {}
    for student in known.values():
        for key in _keys(student):
            owners.setdefault(key, set()).add(student.student)
    taken: set[str] = set()
    found = []
    for one in listed:
        same = set().union(*(owners.get(key, ()) for key in _keys(one))) - here - taken
        if one.student not in known and len(same) == 1:
            taken |= same
            one = one._replace(student=same.pop())  # noqa: PLW2901
        found.append(one)
    return found


def _keys(student: Student) -> list[tuple[str, str]]:
    """What tells one student from all others on any list; Moodle's participant number is an assignment's."""
    fields = {name: getattr(student, name).casefold() for name in ("email", "number", "sis", "canvas")}
    return [(name, value) for name, value in fields.items() if value]


def _refuse_the_same_people(known: dict[str, Student], listed: list[Student]) -> None:
    """A list that has nobody's id and most people's names would put the class in twice."""
    if any(one.student in known for one in listed):
        return
    names = {plain(one.name): one.student for one in known.values()}
    twins = [(one.name, names[plain(one.name)], one.student) for one in listed if plain(one.name) in names]
    if 2 * len(twins) > len(listed):
        name, before, now = twins[0]
        raise ReleaseError(
            f"{len(twins)} of {len(listed)} on this list have a name that is in the class under another id: "
            f"{name} is {before} there and {now} here. Nothing was taken. Say with --id COLUMN where it has "
            "the ids of before, or take first a list that has both (Moodle: Participants, with Username)"
        )


def plain(text: str) -> str:
    """A name as Canvas and Moodle write it into a file's name: letters and digits alone, accents gone."""
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in decomposed if letter.isalnum()).casefold()


def pseudonyms(folder: Path, students: Iterable[str]) -> dict[str, str]:
    """A name for each student that tells nothing, the same in every report of the class."""
    secret, given = release.seed(folder, "pseudonyms").encode(), {}
    taken: set[str] = set()
    for student in sorted(students):
        code = b32encode(hmac.digest(secret, student.encode(), hashlib.sha256)).decode()
        length = next(length for length in range(4, len(code)) if code[:length] not in taken)
        taken.add(code[:length])
        given[student] = f"S-{code[:length]}"
    return given
