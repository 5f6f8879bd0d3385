"""What a class's report tells: spread, costs, what goes wrong, what took long, what failed, what is alike."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from markupsafe import Markup

from .. import release
from ..report import STATUSES, Row
from . import attempts, charts, feedback, marks, outcomes, pages, roster, similarity
from .outcomes import Outcome

GROUPS = 11  # 0-9 %, … 90-99 %, full
RANKED = 12  # bills in a picture
LISTED = 15  # lines of a list
NUMBER = re.compile(r"\b(?:0x[0-9a-f]+|\d[\d,.]*)\b", re.IGNORECASE)
Names = dict[str, str]


class Mistake(NamedTuple):
    """A symptom, which tests show it, and how many submissions have it."""

    tests: str
    said: str
    times: int
    share: float


class Exercise(NamedTuple):
    """An exercise's part of the report."""

    name: str
    title: str
    counts: dict[str, int]
    graded: int
    full: int
    median: float | None
    out_of: float
    spread: Markup
    spread_table: list[tuple[str, int]]
    rankings: list[tuple[str, Markup, int, int, float]]
    mistakes: list[Mistake]
    slowest: list[tuple[str, float]]
    failed: list[tuple[str, str, str]]
    likeness: similarity.Likeness


def report(
    folder: Path, *, names: bool = False, progress: Callable[[list[str]], Iterable[str]] = iter
) -> str:
    """The report's page; students are pseudonyms unless `names`."""
    rows, said = marks.rows(folder), outcomes.read(folder)
    students = sorted({row.student for row in rows})
    listed = roster.read(folder)
    shown = (
        {one: listed[one].name if one in listed else one for one in students}
        if names
        else roster.pseudonyms(folder, students)
    )
    exercises = [
        _exercise(folder, name, [row for row in rows if row.exercise == name], said, shown)
        for name in progress(sorted({row.exercise for row in rows}))
    ]
    facts = release.facts(folder)
    return pages.render(
        "report.html",
        title=f"Report of {facts.get('course', 'the class')}",
        exercises=exercises,
        students=len(students),
        submissions=len(marks.choices(folder)),
        names=names,
        svmlib=facts.get("svmlib", ""),
        statuses=STATUSES,
    )


def _exercise(
    folder: Path, name: str, rows: list[Row], said: dict[tuple[str, str], Outcome], shown: Names
) -> Exercise:
    given = feedback.given_out(folder, name)
    graded = [row for row in rows if row.cells]
    shares = [row.raw / row.out_of for row in graded if row.out_of]
    counts, labels = _groups(shares)
    of_all = Counter(row.status for row in rows)
    mine = {row.student: said[row.student, name] for row in rows if (row.student, name) in said}
    seconds = sorted(((one.seconds, student) for student, one in mine.items() if one.seconds), reverse=True)
    return Exercise(
        name,
        given.title,
        {one: of_all[one] for one in STATUSES if of_all[one]},
        len(graded),
        sum(share >= 1 for share in shares),
        median(row.raw for row in graded) if graded else None,
        max((row.out_of for row in graded), default=0),
        charts.spread(counts, labels, f"{given.title}: how many submissions have how much of the points"),
        list(zip(labels, counts, strict=True)),
        _rankings(mine, shown),
        _mistakes(graded, mine),
        [(shown[student], took) for took, student in seconds[:LISTED]],
        [(shown[row.student], row.status, row.reason) for row in rows if row.reason],
        _likeness(folder, name, shown),
    )


def _groups(shares: list[float]) -> tuple[list[int], list[str]]:
    """How many have how much of the points, in tenths, and full marks or more by themselves."""
    counts = [0] * GROUPS
    for share in shares:
        counts[min(GROUPS - 1, max(0, int(share * 10 + 1e-9)))] += 1
    labels = [f"{10 * tenth}–{10 * tenth + 9} %" for tenth in range(GROUPS - 1)] + ["100 % +"]
    return counts[::-1], labels[::-1]


def _rankings(said: dict[str, Outcome], shown: Names) -> list[tuple[str, Markup, int, int, float]]:
    """For each kind of exit: the cheapest paths beside the reference, how many are cheaper, of how many."""
    made = []
    for kind in sorted({kind for one in said.values() for kind in one.bills}):
        bills = sorted((one.bills[kind][0], shown[s]) for s, one in said.items() if kind in one.bills)
        reference = Counter(one.bills[kind][1] for one in said.values() if kind in one.bills).most_common(1)[
            0
        ][0]
        bars = [(name, ticks) for ticks, name in bills[:RANKED]]
        cheaper = sum(ticks < reference for ticks, _ in bills)
        picture = charts.ranking(
            bars, reference, f"{kind}: ticks of the cheapest paths, and of the reference"
        )
        made.append((kind, picture, cheaper, len(bills), reference))
    return made


def _mistakes(graded: list[Row], said: dict[str, Outcome]) -> list[Mistake]:
    """What submissions lose points for, most frequent first; numbers in a symptom do not tell two apart."""
    tests: dict[str, set[str]] = {}
    whose: dict[str, set[str]] = {}
    for row in graded:
        for name, cell in row.cells.items():
            if cell.by_hand or name.startswith("bonus_") or cell.score is None or cell.score >= cell.worth:
                continue
            reasons = said[row.student].reasons if row.student in said else {}
            first = next(iter(str(reasons.get(name, "")).splitlines()), "") or "points lost, and no words"
            symptom = NUMBER.sub("…", first.removeprefix("CheckFailed: "))
            tests.setdefault(symptom, set()).add(name)
            whose.setdefault(symptom, set()).add(row.student)
    most = sorted(whose, key=lambda symptom: (-len(whose[symptom]), symptom))[:LISTED]
    return [
        Mistake(", ".join(sorted(tests[one])), one, len(whose[one]), len(whose[one]) / len(graded))
        for one in most
    ]


def _likeness(folder: Path, name: str, shown: Names) -> similarity.Likeness:
    """What learners wrote themselves, compared; the release's and the reference's lines are nobody's."""
    known: set[str] = set()
    cells: dict[str, str] = {}
    for kind in ("release", "source"):
        text = (folder / kind / name / f"{name}.ipynb").read_bytes()
        tree: dict[str, Any] = json.loads(text)
        ids = [
            cell["metadata"]["nbgrader"]["grade_id"]
            for cell in tree["cells"]
            if cell["metadata"].get("nbgrader", {}).get("solution")
        ]
        cells |= dict.fromkeys(ids, "")
        known |= similarity.lines_of(list(similarity.written(text, cells).values()))
    lines = frozenset(known)
    written = {}
    for choice in marks.choices(folder):
        if choice.attempt.exercise == name and choice.attempt.student in shown:
            own = similarity.own(attempts.load(folder, choice.attempt), cells, lines)
            if own.lines:
                written[choice.attempt.student] = own
    found = similarity.compare(written)
    pairs = [pair._replace(first=shown[pair.first], second=shown[pair.second]) for pair in found.pairs]
    return found._replace(pairs=pairs)
