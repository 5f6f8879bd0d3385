"""nbgrader's gradebook as a class reads it: marks, dates, penalties; SQLite in the folder, or any db_url.

Every statement is one that SQLite and PostgreSQL share, and every write is one transaction. A mark that a
hand has given is never written here.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError, NoSuchModuleError, OperationalError, SQLAlchemyError

from .. import release
from ..release import ReleaseError

PATIENCE = 30  # seconds that a writer waits for another
DAMAGED = (
    "damaged ({}). Move the file away and grade again: the marks by tests come back, those by hand only from "
    "a copy that you put in its place"
)


class Score(NamedTuple):
    """A graded cell of a submission as the gradebook has it."""

    worth: float
    auto: float | None
    manual: float | None
    extra: float | None
    waits: bool
    by_hand: bool

    @property
    def score(self) -> float | None:
        """What counts; None: a hand has still to mark it."""
        return None if self.waits else self.given

    @property
    def given(self) -> float:
        """What nbgrader adds up, a mark that waits as 0."""
        given = self.auto if self.manual is None else self.manual
        return (given or 0.0) + (self.extra or 0.0) * (given is not None)


Place = tuple[str, str]  # student, exercise
MARKS = """
    SELECT submitted_assignment.student_id, assignment.name, base_cell.name, grade_cells.max_score,
           grade.auto_score, grade.manual_score, grade.extra_credit, grade.needs_manual_grade,
           grade_cells.cell_type
    FROM grade
    JOIN submitted_notebook ON submitted_notebook.id = grade.notebook_id
    JOIN submitted_assignment ON submitted_assignment.id = submitted_notebook.assignment_id
    JOIN assignment ON assignment.id = submitted_assignment.assignment_id
    JOIN base_cell ON base_cell.id = grade.cell_id
    JOIN grade_cells ON grade_cells.id = base_cell.id
"""


def url(folder: Path) -> str:
    """The class's db_url, as nbgrader_config.py says or nbgrader's default is."""
    said = release.config(folder).get("CourseDirectory", {}).get("db_url")
    return str(said or f"sqlite:///{folder / 'gradebook.db'}")


def hidden(db_url: str) -> str:
    """A db_url for a message: no password."""
    return sqlalchemy.make_url(db_url).render_as_string(hide_password=True)


@contextmanager
def connect(db_url: str) -> Iterator[sqlalchemy.Connection]:
    """One transaction on the gradebook; whatever goes wrong with the database says what to do."""
    try:
        options: dict[str, Any] = {"timeout": PATIENCE} if db_url.startswith("sqlite") else {}
        engine = sqlalchemy.create_engine(
            db_url, connect_args=options, poolclass=sqlalchemy.NullPool, future=True
        )
    except (NoSuchModuleError, ModuleNotFoundError, SQLAlchemyError) as error:
        raise ReleaseError(
            f"{_safe(db_url)} is no database that can be opened here: {_cure(error)}"
        ) from None
    try:
        with engine.begin() as connection:
            yield connection
    except SQLAlchemyError as error:
        raise ReleaseError(f"{hidden(db_url)}: {_cure(error)}") from None
    finally:
        engine.dispose()


def _safe(db_url: str) -> str:
    try:
        return hidden(db_url)
    except SQLAlchemyError:
        return "what is given as db_url"


def _cure(error: Exception) -> str:
    """What is wrong with a database, why, and what to do, in a line."""
    said = str(getattr(error, "orig", None) or error).strip().splitlines()
    line = said[0] if said else type(error).__name__
    if "locked" in line:
        return f"locked for {PATIENCE} s by another program. Close it (formgrader?), then repeat the command"
    if "malformed" in line or "not a database" in line or "disk image" in line:
        return DAMAGED.format(line)
    if "no such table" in line or "does not exist" in line:
        return f"no gradebook is there yet ({line}): python -m autograder grade CLASS makes it"
    if "full" in line:
        return f"{line}. Make room, then repeat the command: it goes on where it stopped"
    if "disk I/O" in line or "unable to open" in line or "readonly" in line:
        return (
            f"{line}. Is the disk full, the file or its folder read-only? Mend that, then repeat the command"
        )
    if isinstance(error, ModuleNotFoundError) or "No module named" in line:
        return f"{line}. Install the database's driver: pip install 'svmlib[postgresql]'"
    if isinstance(error, OperationalError):
        return f"it does not answer ({line}): is the server running, are name and password right?"
    return line if isinstance(error, DatabaseError) else f"{type(error).__name__}: {line}"


def check(db_url: str) -> None:
    """Refuse a database that cannot be used, before anything depends on it."""
    with connect(db_url) as connection:
        connection.execute(text("SELECT 1"))


def require_intact(folder: Path) -> None:
    """Refuse a damaged gradebook before anything is written to it: SQLite itself looks at every page."""
    if not url(folder).startswith("sqlite"):
        return
    with connect(url(folder)) as connection:
        found = str(connection.execute(text("PRAGMA quick_check(1)")).scalar())
    if found != "ok":
        raise ReleaseError(f"{hidden(url(folder))}: {DAMAGED.format(found.splitlines()[-1])}")


def known(folder: Path) -> set[str]:
    """The exercises that the gradebook has with all their cells: none where it is new or half made."""
    found: dict[str, set[tuple[str, bool]]] = {}
    with connect(url(folder)) as connection:
        look = sqlalchemy.inspect(connection)
        for table, columns in TABLES.items():
            if not look.has_table(table) or columns - {one["name"] for one in look.get_columns(table)}:
                return set()
        for exercise, cell, has_rows in connection.execute(text(CELLS)):
            found.setdefault(exercise, set()).add((cell, bool(has_rows)))
    return {
        name for name in release.facts(folder)["exercises"] if found.get(name) == release.cells(folder, name)
    }


#: By what a gradebook is known to be whole: its tables, and columns that are asked for.
TABLES: dict[str, set[str]] = {
    "assignment": {"id", "name"},
    "notebook": {"id", "assignment_id"},
    "base_cell": {"name", "notebook_id"},
    "source_cell": {"name", "notebook_id"},
    "grade_cells": {"max_score"},
    "student": {"id"},
    "submitted_assignment": {"student_id"},
    "submitted_notebook": {"notebook_id"},
    "grade": {"cell_id"},
    "comment": {"cell_id"},
}
CELLS = """
    SELECT assignment.name, source_cell.name, base_cell.name IS NOT NULL
    FROM source_cell
    JOIN notebook ON notebook.id = source_cell.notebook_id
    JOIN assignment ON assignment.id = notebook.assignment_id
    LEFT JOIN base_cell ON base_cell.notebook_id = notebook.id AND base_cell.name = source_cell.name
"""
VERSION = "CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) NOT NULL)"


def make(folder: Path) -> None:
    """Make nbgrader's tables, and note its version, in one transaction.

    nbgrader itself makes them one after the other and writes its version last. Where that was broken off,
    they are empty and are made anew; what holds rows is never touched.
    """
    from alembic.script import ScriptDirectory
    from nbgrader.api import Base
    from nbgrader.dbutil import ALEMBIC_DIR

    with connect(url(folder)) as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # else each table is a transaction of its own
        look = sqlalchemy.inspect(connection)
        lacks = [
            name
            for name, table in Base.metadata.tables.items()
            if not look.has_table(name)
            or set(table.columns.keys()) - {one["name"] for one in look.get_columns(name)}
        ]
        if lacks:
            _require_empty(connection, Base.metadata, lacks)
            Base.metadata.drop_all(connection)
            Base.metadata.create_all(connection)
        connection.execute(text(VERSION))
        if not connection.execute(text("SELECT count(*) FROM alembic_version")).scalar():
            insert = text("INSERT INTO alembic_version (version_num) VALUES (:version)")
            # nbgrader's own function for it runs the command `alembic`, which has to be on the PATH
            connection.execute(insert, {"version": ScriptDirectory(ALEMBIC_DIR).get_current_head()})


def _require_empty(connection: sqlalchemy.Connection, wanted: sqlalchemy.MetaData, lacks: list[str]) -> None:
    """Refuse to make anew what holds something already."""
    look = sqlalchemy.inspect(connection)
    for name in wanted.tables:
        one = sqlalchemy.select(sqlalchemy.literal(1)).select_from(sqlalchemy.table(name)).limit(1)
        if look.has_table(name) and connection.execute(one).first():
            raise ReleaseError(
                f"{connection.engine.url.render_as_string()}: {name} has rows, but of nbgrader's tables "
                f"these are not there, or not whole: {', '.join(lacks)}. If an older nbgrader made it, run "
                "`nbgrader db upgrade` in the class folder; else put back a copy, or name an empty database "
                "as db_url in nbgrader_config.py"
            )


def read(folder: Path) -> dict[Place, dict[str, Score]]:
    """Every mark of the class, in one query: a list of 10,000 submissions is there in under a second."""
    found: dict[Place, dict[str, Score]] = {}
    if not release.facts(folder)["exercises"]:
        return found
    with connect(url(folder)) as connection:
        for student, exercise, cell, worth, auto, manual, extra, waits, kind in connection.execute(
            text(MARKS)
        ):
            score = Score(worth or 0.0, auto, manual, extra, bool(waits), kind == "markdown")
            found.setdefault((student, exercise), {})[cell] = score
    return found


class Dates(NamedTuple):
    """When a submission came in, when it was due for its student, and what it loses."""

    student: str
    exercise: str
    when: datetime
    due: datetime | None
    penalty: float | None


def write_dates(folder: Path, due: dict[str, datetime | None], dates: Iterable[Dates]) -> None:
    """Tell nbgrader the deadlines, extensions and penalties that count, for its own pages and exports."""
    with connect(url(folder)) as connection:
        for exercise, everybody in due.items():
            connection.execute(
                text("UPDATE assignment SET duedate = :due WHERE name = :exercise"),
                {"due": _naive(everybody), "exercise": exercise},
            )
        whens, lost = [], []
        for one in dates:
            everybody = due.get(one.exercise)
            extension = one.due - everybody if one.due and everybody and one.due != everybody else None
            place = {"student": one.student, "exercise": one.exercise}
            whens.append(place | {"when": _naive(one.when), "extension": extension})
            lost.append(place | {"penalty": one.penalty})
        if whens:
            connection.execute(_dated(), whens)
            connection.execute(text(PENALTY), lost)


# Written so that each database finds the row by the table's own index, and 10,000 rows take no minute.
EXERCISE = "(SELECT id FROM assignment WHERE name = :exercise)"
ONE = f"(SELECT id FROM submitted_assignment WHERE assignment_id = {EXERCISE} AND student_id = :student)"  # noqa: S608
PENALTY = f"""UPDATE submitted_notebook SET late_submission_penalty = :penalty WHERE assignment_id = {ONE}
    AND notebook_id IN (SELECT id FROM notebook WHERE assignment_id = {EXERCISE})"""  # noqa: S608


def _dated() -> sqlalchemy.TextClause:
    """The statement that dates a submission; its types are named, for SQLite has no intervals."""
    statement = text(
        f"UPDATE submitted_assignment SET timestamp = :when, extension = :extension WHERE id = {ONE}"  # noqa: S608
    )
    return statement.bindparams(
        sqlalchemy.bindparam("when", type_=sqlalchemy.DateTime),
        sqlalchemy.bindparam("extension", type_=sqlalchemy.Interval),
    )


def _naive(when: datetime | None) -> datetime | None:
    """UTC without its zone, as nbgrader keeps it."""
    return when.astimezone(UTC).replace(tzinfo=None) if when else None


def forget(folder: Path, student: str) -> int:
    """Delete a student and all that hangs on them; how many submissions that were."""
    of_student = "SELECT id FROM submitted_assignment WHERE student_id = :student"
    notebooks = f"SELECT id FROM submitted_notebook WHERE assignment_id IN ({of_student})"  # noqa: S608
    with connect(url(folder)) as connection:
        count = connection.execute(
            text("SELECT count(*) FROM submitted_assignment WHERE student_id = :student"),
            {"student": student},
        ).scalar_one()
        for statement in (
            f"DELETE FROM grade WHERE notebook_id IN ({notebooks})",  # noqa: S608
            f"DELETE FROM comment WHERE notebook_id IN ({notebooks})",  # noqa: S608
            f"DELETE FROM submitted_notebook WHERE assignment_id IN ({of_student})",  # noqa: S608
            "DELETE FROM submitted_assignment WHERE student_id = :student",
            "DELETE FROM student WHERE id = :student",
        ):
            connection.execute(text(statement), {"student": student})
    if (path := folder / "gradebook.db").exists() and url(folder).startswith("sqlite"):
        _vacuum(path)
    return int(count)


def _vacuum(path: Path) -> None:
    """Let SQLite overwrite what it has deleted."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(path, timeout=PATIENCE)) as connection:
        connection.execute("VACUUM")


def comments(folder: Path) -> dict[Place, dict[str, str]]:
    """What graders wrote beside the cells."""
    found: dict[Place, dict[str, str]] = {}
    query = """
        SELECT submitted_assignment.student_id, assignment.name, base_cell.name,
               comment.auto_comment, comment.manual_comment
        FROM comment
        JOIN submitted_notebook ON submitted_notebook.id = comment.notebook_id
        JOIN submitted_assignment ON submitted_assignment.id = submitted_notebook.assignment_id
        JOIN assignment ON assignment.id = submitted_assignment.assignment_id
        JOIN base_cell ON base_cell.id = comment.cell_id
        WHERE comment.auto_comment IS NOT NULL OR comment.manual_comment IS NOT NULL
    """
    with connect(url(folder)) as connection:
        for student, exercise, cell, auto, manual in connection.execute(text(query)):
            if said := manual or auto:
                found.setdefault((student, exercise), {})[cell] = said
    return found
