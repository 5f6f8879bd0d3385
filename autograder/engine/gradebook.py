"""nbgrader's database: a chunk of verdicts in one transaction, as nbgrader's own steps would have entered
them.

SQLite or PostgreSQL. Several graders may write at once: what one has entered the other finds. A mark given by
hand stays; where the submission behind it is another one than before, the cell waits for a hand to look
again.
"""

from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from .. import release
from ..judge.verdict import Mark, Verdict

#: Seconds to wait for another writer.
PATIENCE = 30
_TABLES = {
    "assignment": "id name",
    "notebook": "id name assignment_id",
    "base_cell": "id name notebook_id type",
    "grade_cell": "id max_score",
    "student": "id",
    "submitted_assignment": "id assignment_id student_id",
    "submitted_notebook": "id assignment_id notebook_id flagged",
    "grade": "id notebook_id cell_id auto_score manual_score extra_credit needs_manual_grade",
    "comment": "id notebook_id cell_id auto_comment manual_comment",
}
T = {name: sa.table(name, *map(sa.column, columns.split())) for name, columns in _TABLES.items()}


class Change(NamedTuple):
    """A mark that moves, or would: None stands for none."""

    student: str
    exercise: str
    cell: str
    old: float | None
    new: float | None


class _Cell(NamedTuple):
    id: str
    kind: str


class _Sheet(NamedTuple):
    """An exercise in the gradebook: its notebook's id, its cells by name."""

    assignment: str
    notebook: str
    cells: dict[str, list[_Cell]]


def write(
    url: str, verdicts: Iterable[Verdict], same: Container[tuple[str, str]] = frozenset()
) -> list[Change]:
    """Enter verdicts, all or none, and return the automatic marks that moved.

    `same` names (student, exercise) whose file is the one that was graded before: hand marks on it are final
    as they are. A failed submission has no marks. ReleaseError where the database cannot be written.
    """
    verdicts = list(verdicts)
    with _connected(url) as connection:
        sheets = _sheets(connection, {verdict.exercise for verdict in verdicts})
        moved: list[Change] = []
        for verdict in verdicts:
            sheet = sheets.get(verdict.exercise)
            if sheet is not None:
                moved += _enter(connection, verdict, sheet, (verdict.student, verdict.exercise) in same)
        return moved


def changes(url: str, verdicts: Iterable[Verdict]) -> list[Change]:
    """Say which automatic marks would move, and write nothing."""
    verdicts = list(verdicts)
    with _connected(url) as connection:
        sheets = _sheets(connection, {verdict.exercise for verdict in verdicts})
        found: list[Change] = []
        for verdict in verdicts:
            sheet = sheets.get(verdict.exercise)
            old = _entered(connection, verdict, sheet) if sheet else {}
            for name, mark in verdict.marks.items():
                if name in old and not _alike(old[name], mark.points):
                    found.append(Change(verdict.student, verdict.exercise, name, old[name], mark.points))
        return found


@contextmanager
def _connected(url: str) -> Iterator[sa.Connection]:
    """One transaction; what goes wrong is said in words."""
    arguments = {"timeout": PATIENCE} if url.startswith("sqlite") else {}
    engine = sa.create_engine(url, connect_args=arguments, poolclass=sa.NullPool)
    if url.startswith("sqlite"):
        # Write from the start: a reader that becomes a writer may find that somebody else was faster.
        sa.event.listen(engine, "connect", lambda raw, _: setattr(raw, "isolation_level", None))
        sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        with engine.begin() as connection:
            yield connection
    except sa.exc.DBAPIError as error:
        why = str(error.orig).strip().splitlines()[0]
        raise release.ReleaseError(f"The gradebook was not written: {why}. {_cure(why)}") from None
    finally:
        engine.dispose()


def _cure(why: str) -> str:
    if "locked" in why:
        return "Another program holds it: close formgrader or wait, then run the same command again."
    if "malformed" in why or "not a database" in why:
        return "The file is damaged: move it away or take a copy back, then run the same command again."
    if "full" in why:
        return "Make room on the disk, then run the same command again."
    return "Nothing was changed: mend it, then run the same command again."


def _sheets(connection: sa.Connection, exercises: set[str]) -> dict[str, _Sheet]:
    assignment, notebook, cell = T["assignment"], T["notebook"], T["base_cell"]
    rows = connection.execute(
        sa.select(assignment.c.name, assignment.c.id, notebook.c.id, cell.c.name, cell.c.id, cell.c.type)
        .join(notebook, notebook.c.assignment_id == assignment.c.id)
        .join(cell, cell.c.notebook_id == notebook.c.id)
        .where(assignment.c.name.in_(exercises))
    )
    found: dict[str, _Sheet] = {}
    for exercise, assignment_id, notebook_id, name, cell_id, kind in rows:
        sheet = found.setdefault(exercise, _Sheet(assignment_id, notebook_id, {}))
        sheet.cells.setdefault(name, []).append(_Cell(cell_id, kind))
    return found


def _enter(connection: sa.Connection, verdict: Verdict, sheet: _Sheet, same: bool) -> list[Change]:
    """Enter one verdict's rows; the automatic marks that moved."""
    old = _entered(connection, verdict, sheet)
    if verdict.status != "graded" and not old:
        return []
    _put(connection, "student", {"id": verdict.student}, ["id"])
    given = {"assignment_id": sheet.assignment, "student_id": verdict.student}
    submission = _put(connection, "submitted_assignment", given, list(given))
    given = {"assignment_id": submission, "notebook_id": sheet.notebook}
    notebook = _put(connection, "submitted_notebook", given, list(given), flagged=False)
    moved = []
    for name, cells in sheet.cells.items():
        for cell in cells:
            place = {"notebook_id": notebook, "cell_id": cell.id}
            mark = verdict.marks.get(name)
            if cell.kind == "GradeCell":
                _mark(connection, place, mark, same=same)
                new = mark.points if mark else None
                if name in old and not _alike(old[name], new):
                    moved.append(Change(verdict.student, verdict.exercise, name, old[name], new))
            elif cell.kind == "SolutionCell":
                _put(connection, "comment", place, list(place))
                comment = mark.comment if mark and mark.comment else None
                connection.execute(
                    _at(sa.update(T["comment"]), "comment", place).values(auto_comment=comment)
                )
    return moved


def _mark(connection: sa.Connection, place: dict[str, str], mark: Mark | None, *, same: bool) -> None:
    """Nbgrader's rule for a graded cell: a hand is asked where there is a mark by hand already, or none at
    all.
    """
    _put(connection, "grade", place, list(place), needs_manual_grade=True)
    points = mark.points if mark else None
    table = T["grade"]
    by_hand = table.c.manual_score.is_not(None)
    waits = sa.case(
        (by_hand, table.c.needs_manual_grade if same else sa.true()), else_=sa.literal(points is None)
    )
    update = _at(sa.update(table), "grade", place)
    connection.execute(update.values(auto_score=points, needs_manual_grade=waits))


def _entered(connection: sa.Connection, verdict: Verdict, sheet: _Sheet) -> dict[str, float | None]:
    """The automatic marks that are entered for a submission."""
    submission, notebook, grade, cell = (
        T[name] for name in ("submitted_assignment", "submitted_notebook", "grade", "base_cell")
    )
    rows = connection.execute(
        sa.select(cell.c.name, grade.c.auto_score)
        .join(notebook, grade.c.notebook_id == notebook.c.id)
        .join(submission, notebook.c.assignment_id == submission.c.id)
        .join(cell, grade.c.cell_id == cell.c.id)
        .where(submission.c.student_id == verdict.student, submission.c.assignment_id == sheet.assignment)
    )
    return dict(rows.tuples().all())


def _put(
    connection: sa.Connection, name: str, given: dict[str, Any], unique: list[str], **defaults: Any
) -> str:
    """The id of the row with these values, which is inserted when nobody has done so."""
    table = T[name]
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    values = {"id": uuid4().hex} | given | defaults
    connection.execute(insert(table).values(values).on_conflict_do_nothing(index_elements=unique))
    return str(connection.execute(_at(sa.select(table.c.id), name, given)).scalar_one())


def _at(statement: Any, name: str, place: dict[str, Any]) -> Any:
    return statement.where(*(T[name].c[column] == value for column, value in place.items()))


def _alike(old: float | None, new: float | None) -> bool:
    return old is new or (old is not None and new is not None and abs(old - new) < 1e-9)
