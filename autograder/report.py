"""What a class scored: a row a submission, as a table, as CSV and as JSON.

The CSV has a line for each submission. A number that is not known is blank, never 0:

    student, exercise
    status      final, awaiting (a hand has still to mark), failed, tampered (a hand has to decide),
                ungraded, missing, or excused
    raw         tests, hands and bonus together; blank unless final
    penalty     what lateness takes off it; blank unless final
    final       what counts: raw less penalty, never below 0; blank unless final
    out_of      the full marks, without bonus
    automatic   from tests, without bonus; blank where nothing was graded
    by_hand     given by hand; blank unless final
    awaiting    points that a hand has still to give or refuse; blank where nothing was graded
    bonus       blank where nothing was graded
    reason      why a submission failed, or what it tried
    remarks     what was mended in it, and how late it was
"""

import csv
import io
import json
from collections.abc import Iterable
from typing import NamedTuple

from tabulate import tabulate

COLUMNS = ["student", "exercise", "status", "raw", "penalty", "final", "out_of"]
COLUMNS += ["automatic", "by_hand", "awaiting", "bonus", "reason", "remarks"]


STATUSES = ("final", "awaiting", "failed", "tampered", "ungraded", "missing", "excused")


class Cell(NamedTuple):
    """A graded cell's points and score; None: a hand has still to mark it."""

    worth: float
    score: float | None
    by_hand: bool


class Row(NamedTuple):
    """A submission's outcome: its graded cells or the reason why there are none; what was mended in it."""

    student: str
    exercise: str
    cells: dict[str, Cell]
    reason: str = ""
    remarks: tuple[str, ...] = ()
    state: str = ""
    penalty: float = 0.0

    @property
    def status(self) -> str:
        """One of the words of STATUSES."""
        if self.state or self.reason:
            return self.state or "failed"
        if not self.cells:
            return "ungraded"
        return "awaiting" if self.awaiting else "final"

    @property
    def raw(self) -> float:
        """What tests and hands gave so far, bonus included."""
        return self.automatic + self.by_hand + self.bonus

    @property
    def final(self) -> float | None:
        """What counts; None where that is not known."""
        return max(0.0, self.raw - self.penalty) if self.status == "final" else None

    @property
    def out_of(self) -> float:
        """The full marks, without bonus."""
        return sum(cell.worth for name, cell in self.cells.items() if not name.startswith("bonus_"))

    @property
    def automatic(self) -> float:
        """What the tests gave, without bonus."""
        return self._sum(by_hand=False, bonus=False)

    @property
    def by_hand(self) -> float:
        """What was given by hand so far."""
        return self._sum(by_hand=True, bonus=False)

    @property
    def awaiting(self) -> float:
        """The points on which a hand has still to decide."""
        return sum(cell.worth for cell in self.cells.values() if cell.score is None)

    @property
    def bonus(self) -> float:
        """What the bonus cells gave."""
        return self._sum(by_hand=False, bonus=True)

    def _sum(self, *, by_hand: bool, bonus: bool) -> float:
        return sum(
            cell.score or 0
            for name, cell in self.cells.items()
            if cell.by_hand == by_hand and name.startswith("bonus_") == bonus
        )

    def __str__(self) -> str:
        """The row as a table shows it: `14/18 +2 bonus, 2 to mark`."""
        if not self.cells:
            return f"{self.status}: {self.reason}" if self.reason else self.status
        text = f"tampered: {self.reason}; " if self.state == "tampered" else ""
        text += f"{self.automatic + self.by_hand:g}/{self.out_of:g}"
        text += f" +{self.bonus:g} bonus" if self.bonus else ""
        text += f", {self.awaiting:g} to mark" if self.awaiting else ""
        text += f", -{self.penalty:g} late" if self.penalty else ""
        return text + (" *" if self.remarks else "")

    def record(self) -> dict[str, object]:
        """The row's columns, None where a number is not known."""
        nothing, final = not self.cells, self.status == "final"
        return {
            "student": self.student,
            "exercise": self.exercise,
            "status": self.status,
            "raw": self.raw if final else None,
            "penalty": self.penalty if final else None,
            "final": self.final,
            "out_of": self.out_of if self.cells else None,
            "automatic": None if nothing else self.automatic,
            "by_hand": self.by_hand if final else None,
            "awaiting": None if nothing else self.awaiting,
            "bonus": None if nothing else self.bonus,
            "reason": self.reason,
            "remarks": "; ".join(self.remarks),
        }


def table(rows: Iterable[Row]) -> str:
    """Student x exercise, with what went wrong and what was mended below."""
    rows = list(rows)
    exercises = sorted({row.exercise for row in rows})
    by_place = {(row.student, row.exercise): row for row in rows}
    students = sorted({row.student for row in rows})
    lines = [[s, *(str(by_place.get((s, e), "–")) for e in exercises)] for s in students]
    widths = [None] + [34] * len(exercises)
    text = tabulate(lines, headers=["student", *exercises], maxcolwidths=widths)
    return "\n".join([text, *footnotes(rows)])


def footnotes(rows: Iterable[Row]) -> list[str]:
    """What the stars in a table mean, after a blank line; nothing where there are none."""
    said = [f"* {row.student}, {row.exercise}: {'; '.join(row.remarks)}" for row in rows if row.remarks]
    return ["", *said] if said else []


def as_csv(rows: Iterable[Row]) -> str:
    """The rows as CSV, blank where a number is not known."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _short(value) for key, value in row.record().items()} for row in rows)
    return text.getvalue()


def as_json(rows: Iterable[Row]) -> str:
    """The rows and their graded cells, for machines; null where a number is not known."""
    return json.dumps(
        [row.record() | {"cells": {name: cell.score for name, cell in row.cells.items()}} for row in rows],
        indent=1,
    )


def _short(value: object) -> object:
    """2.0 as 2."""
    return f"{value:g}" if isinstance(value, float) else value
