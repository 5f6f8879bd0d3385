"""A class's marks as they stand: a row for each student and exercise."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from .. import release
from ..report import Cell, Row
from . import attempts, deadlines, gradebook, late, outcomes, roster
from .deadlines import Choice, Deadlines
from .outcomes import Outcome


class Standing(NamedTuple):
    """What a class has: its students, exercises, deadlines, and which attempts count."""

    students: list[str]
    listed: frozenset[str]
    exercises: list[str]
    deadlines: Deadlines
    choices: dict[tuple[str, str], Choice]


def standing(folder: Path) -> Standing:
    """Read a class: everybody on the list, and everybody who handed something in."""
    by_place: dict[tuple[str, str], list[attempts.Attempt]] = {}
    for one in attempts.read(folder):
        by_place.setdefault((one.student, one.exercise), []).append(one)
    listed = roster.read(folder)
    exercises = sorted(release.facts(folder)["exercises"])
    due = deadlines.read(folder, exercises, listed)
    choices = {place: deadlines.choose(found, due) for place, found in sorted(by_place.items())}
    here = [one.student for one in listed.values() if one.listed != "no"]
    students = sorted({*here, *(student for student, _ in choices)})
    return Standing(students, frozenset(here), exercises, due, choices)


def choices(folder: Path) -> list[Choice]:
    """Which attempt of each student counts for each exercise."""
    return list(standing(folder).choices.values())


def rows(folder: Path, only: Iterable[str] = ()) -> list[Row]:
    """A row for each listed student and exercise, and for all else that came in; `only` some exercises."""
    now, scores, said = standing(folder), gradebook.read(folder), outcomes.read(folder)
    penalty = late.penalties(folder)
    wanted = [one for one in now.exercises if not (only := set(only)) or one in only]
    made = []
    for exercise in wanted:
        for student in now.students:
            place = student, exercise
            if place not in now.choices and student not in now.listed:
                continue  # a class without a list does not know whom to miss
            row = _row(place, now.choices.get(place), said.get(place), scores.get(place, {}))
            if now.deadlines.of(exercise, student).excused:
                row = row._replace(state="excused", reason="")
            elif place in now.choices and row.cells:
                lost = penalty(student, row.raw, now.choices[place].seconds_late)
                row = row._replace(penalty=lost or 0.0)
            made.append(row)
    return made


def _row(
    place: tuple[str, str], choice: Choice | None, said: Outcome | None, scores: dict[str, gradebook.Score]
) -> Row:
    student, exercise = place
    if choice is None:
        return Row(student, exercise, {}, state="missing")
    if said is None or said.digest != choice.attempt.digest:
        return Row(student, exercise, {}, state="ungraded", remarks=choice.remarks)
    remarks = (*said.remarks, *choice.remarks)
    if said.status == "failed":
        return Row(student, exercise, {}, said.reason, remarks)
    if not scores:  # the gradebook was moved away: the marks come back with the next grading
        return Row(student, exercise, {}, state="ungraded", remarks=choice.remarks)
    cells = {name: Cell(one.worth, one.score, one.by_hand) for name, one in sorted(scores.items())}
    looked_at = any(one.manual is not None for one in scores.values())
    if said.status == "tampered" and not looked_at:
        return Row(student, exercise, cells, said.reason, remarks, state="tampered")
    return Row(student, exercise, cells, "", remarks)


def write_dates(folder: Path) -> None:
    """Tell nbgrader what its own pages and exports need: deadlines, extensions, times and penalties."""
    now, penalty = standing(folder), late.penalties(folder)
    scores = gradebook.read(folder)
    dates = []
    for (student, exercise), cells in sorted(scores.items()):
        if choice := now.choices.get((student, exercise)):
            raw = sum(one.given for one in cells.values())
            lost = penalty(student, raw, choice.seconds_late)
            dates.append(gradebook.Dates(student, exercise, choice.when, choice.deadline.due, lost))
    gradebook.write_dates(folder, {name: now.deadlines.of(name).due for name in now.exercises}, dates)
