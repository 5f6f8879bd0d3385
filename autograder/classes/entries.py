"""Verdicts entered into nbgrader's gradebook: a chunk in one transaction, by any number of graders at once.

What a hand gave is kept. It stays settled while the same file is graded again, and is asked for once more
when another attempt took its place. Rows are made where they are missing and otherwise changed in one
statement each, so two graders, or a grader and formgrader, lose nothing of each other.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import sqlalchemy
from sqlalchemy import Boolean, Column, Float, MetaData, String, Table, bindparam, case, select, true
from sqlalchemy.dialects import postgresql, sqlite

from ..release import ReleaseError
from . import gradebook

_tables = MetaData()


def _table(name: str, *columns: Column[Any]) -> Table:
    return Table(name, _tables, Column("id", String, primary_key=True), *columns)


STUDENT = _table("student")
ASSIGNMENT = _table("assignment", Column("name", String))
NOTEBOOK = _table("notebook", Column("name", String), Column("assignment_id", String))
CELL = _table("base_cell", Column("name", String), Column("notebook_id", String), Column("type", String))
SUBMISSION = _table("submitted_assignment", Column("assignment_id", String), Column("student_id", String))
SUBMITTED = _table(
    "submitted_notebook",
    Column("notebook_id", String),
    Column("assignment_id", String),
    Column("flagged", Boolean),
)
GRADE = _table(
    "grade",
    Column("cell_id", String),
    Column("notebook_id", String),
    Column("auto_score", Float),
    Column("manual_score", Float),
    Column("needs_manual_grade", Boolean),
)
COMMENT = _table(
    "comment", Column("cell_id", String), Column("notebook_id", String), Column("auto_comment", String)
)


class Entry(NamedTuple):
    """A submission's marks by tests, for the gradebook; None: a hand has to give it. No marks: it failed."""

    student: str
    exercise: str
    marks: Mapping[str, float | None]
    #: What nbgrader says beside a cell by itself: "No response."
    comments: Mapping[str, str]
    #: Whether the file is the one that was graded before.
    same: bool = False


class Change(NamedTuple):
    """A mark that would move: which, from what to what; None: there is none, or a hand has to give it."""

    student: str
    exercise: str
    cell: str
    old: float | None
    new: float | None


def changes(
    now: Mapping[gradebook.Place, Mapping[str, gradebook.Score]], entries: Iterable[Entry]
) -> list[Change]:
    """Which marks would move if the entries were made; one that a hand has given does not."""
    found = []
    for entry in entries:
        for name, score in now.get((entry.student, entry.exercise), {}).items():
            new = entry.marks.get(name)
            if score.manual is None and score.auto != new:
                found.append(Change(entry.student, entry.exercise, name, score.auto, new))
    return found


class _Exercise(NamedTuple):
    """An exercise's rows in the gradebook."""

    assignment: str
    notebook: str
    graded: dict[str, str]
    answered: dict[str, str]


def enter(folder: Path, entries: Sequence[Entry]) -> None:
    """Make the entries, all or none of them."""
    entries = sorted(entries, key=lambda entry: (entry.exercise, entry.student))
    with gradebook.connect(gradebook.url(folder)) as connection:
        insert = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}.get(connection.dialect.name)
        if insert is None:
            raise ReleaseError(
                f"a gradebook on {connection.dialect.name} is not written here: SQLite and PostgreSQL are"
            )
        _add(connection, insert(STUDENT), [{"id": student} for student in {one.student for one in entries}])
        for name in {one.exercise for one in entries}:
            exercise = _exercise(connection, name)
            mine = [one for one in entries if one.exercise == name]
            _enter(connection, insert, exercise, [one for one in mine if one.marks])
            _withdraw(connection, exercise, [one.student for one in mine if not one.marks])


def _add(connection: sqlalchemy.Connection, statement: Any, rows: list[dict[str, Any]]) -> None:
    """Insert what is not there yet, in one order for all graders, lest two wait for each other."""
    if rows:
        ordered = sorted(
            rows, key=lambda row: [str(value) for key, value in row.items() if key != "id"] + [row["id"]]
        )
        connection.execute(statement.on_conflict_do_nothing(), ordered)


def _exercise(connection: sqlalchemy.Connection, name: str) -> _Exercise:
    found = connection.execute(
        select(ASSIGNMENT.c.id, NOTEBOOK.c.id)
        .join(NOTEBOOK, NOTEBOOK.c.assignment_id == ASSIGNMENT.c.id)
        .where(ASSIGNMENT.c.name == name)
    ).first()
    if found is None:
        raise ReleaseError(
            f"the gradebook does not know {name}: release it again (release CLASS {name} --again)"
        )
    cells = connection.execute(
        select(CELL.c.name, CELL.c.id, CELL.c.type).where(CELL.c.notebook_id == found[1])
    ).all()
    graded = {cell: key for cell, key, kind in cells if kind == "GradeCell"}
    answered = {cell: key for cell, key, kind in cells if kind == "SolutionCell"}
    return _Exercise(found[0], found[1], graded, answered)


def _submitted(connection: sqlalchemy.Connection, exercise: _Exercise, students: list[str]) -> dict[str, str]:
    """The submitted notebook of each student who has one."""
    rows = connection.execute(
        select(SUBMISSION.c.student_id, SUBMITTED.c.id)
        .join(SUBMITTED, SUBMITTED.c.assignment_id == SUBMISSION.c.id)
        .where(SUBMISSION.c.assignment_id == exercise.assignment, SUBMISSION.c.student_id.in_(students))
    )
    return {row[0]: row[1] for row in rows}


def _enter(connection: sqlalchemy.Connection, insert: Any, exercise: _Exercise, entries: list[Entry]) -> None:
    """Make the rows that are missing, as nbgrader makes them, then give the marks."""
    if not entries:
        return
    students = [one.student for one in entries]
    assignment = exercise.assignment
    rows: list[dict[str, Any]] = [
        {"id": _key(), "assignment_id": assignment, "student_id": one} for one in students
    ]
    _add(connection, insert(SUBMISSION), rows)
    there = connection.execute(
        select(SUBMISSION.c.id).where(
            SUBMISSION.c.assignment_id == assignment, SUBMISSION.c.student_id.in_(students)
        )
    ).scalars()
    rows = [
        {"id": _key(), "notebook_id": exercise.notebook, "assignment_id": one, "flagged": False}
        for one in there
    ]
    _add(connection, insert(SUBMITTED), rows)
    notebooks = _submitted(connection, exercise, students)
    grades, comments = [], []
    for one in entries:
        notebook = notebooks[one.student]
        for name, cell in exercise.graded.items():
            grades.append(
                {"cell_id": cell, "notebook_id": notebook, "score": one.marks.get(name), "same": one.same}
            )
        for name, cell in exercise.answered.items():
            comments.append({"cell_id": cell, "notebook_id": notebook, "said": one.comments.get(name)})
    _add(
        connection,
        insert(GRADE),
        [
            {
                "id": _key(),
                "cell_id": row["cell_id"],
                "notebook_id": row["notebook_id"],
                "needs_manual_grade": True,
            }
            for row in grades
        ],
    )
    _add(
        connection,
        insert(COMMENT),
        [{"id": _key(), "cell_id": row["cell_id"], "notebook_id": row["notebook_id"]} for row in comments],
    )
    _give(connection, grades, comments)


def _give(
    connection: sqlalchemy.Connection, grades: list[dict[str, Any]], comments: list[dict[str, Any]]
) -> None:
    """Give the marks by tests; whether a hand is needed is decided from the row as it is at that moment."""
    settled = case(
        (bindparam("is_same", type_=Boolean), GRADE.c.needs_manual_grade),
        else_=true(),
    )
    statement = (
        GRADE.update()
        .where(GRADE.c.cell_id == bindparam("cell"), GRADE.c.notebook_id == bindparam("notebook"))
        .values(
            auto_score=bindparam("score", type_=Float),
            needs_manual_grade=case(
                (GRADE.c.manual_score.is_(None), bindparam("waits", type_=Boolean)), else_=settled
            ),
        )
    )
    connection.execute(
        statement,
        [
            {
                "cell": row["cell_id"],
                "notebook": row["notebook_id"],
                "score": row["score"],
                "waits": row["score"] is None,
                "is_same": row["same"],
            }
            for row in grades
        ],
    )
    if comments:
        connection.execute(
            COMMENT.update()
            .where(COMMENT.c.cell_id == bindparam("cell"), COMMENT.c.notebook_id == bindparam("notebook"))
            .values(auto_comment=bindparam("said", type_=String)),
            [
                {"cell": row["cell_id"], "notebook": row["notebook_id"], "said": row["said"]}
                for row in comments
            ],
        )


def _withdraw(connection: sqlalchemy.Connection, exercise: _Exercise, students: list[str]) -> None:
    """Take the marks by tests of failed submissions out; where a hand has marked, the rows stay for it."""
    for notebook in _submitted(connection, exercise, students).values():
        connection.execute(
            GRADE.update()
            .where(GRADE.c.notebook_id == notebook)
            .values(auto_score=None, needs_manual_grade=True)
        )


def _key() -> str:
    return uuid4().hex
