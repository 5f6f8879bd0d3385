"""A submission's cells beside the release's: what the release owns comes back, whatever was done to it.

The student's own cells keep their order and are all run. The release's tests, questions and locked cells are
put among them where they belong: behind the cells of the release that come before them. That something was
changed, moved or taken out is a remark and costs nothing.
"""

import difflib
import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from .. import submissions
from .exercise import Cell, Exercise, text

CHANGED, MISSING = "was changed: restored", "was missing: put back"


class Placed(NamedTuple):
    """A cell of the notebook that is graded: the student's own, or one of the release's, or theirs in its
    place.
    """

    kind: str
    source: str
    #: The release's cell that it is, or answers to; None for a cell that the student added.
    of: Cell | None
    attachments: dict[str, Any]

    @property
    def is_ours(self) -> bool:
        """Whether its content comes from the release, not from the submission."""
        return self.of is not None and self.of.role in ("test", "locked")


def read(data: bytes) -> list[dict[str, Any]]:
    """The cells of a notebook file. submissions.Unreadable says why there are none."""
    if len(data) > submissions.LARGEST:
        raise submissions.Unreadable(f"larger than {submissions.LARGEST // 1_000_000} MB")
    try:
        tree = json.loads(data)
        if tree["nbformat"] == 4 and all(_is_cell(cell) for cell in tree["cells"]):
            cells: list[dict[str, Any]] = tree["cells"]
            return cells
    except (ValueError, LookupError, TypeError, RecursionError):
        pass
    # Whatever is unusual: nbformat reads older formats, and finds the words for what is none.
    return [dict(cell) for cell in submissions.parse(data).cells]


def _is_cell(cell: Any) -> bool:
    if type(cell) is not dict:
        return False
    return (
        cell.get("cell_type") in ("code", "markdown", "raw")
        and _is_text(cell.get("source"))
        and type(cell.get("metadata")) is dict
    )


def arrange(cells: list[dict[str, Any]], exercise: Exercise) -> tuple[list[Placed], list[str]]:
    """The notebook to be graded, and what was restored in it."""
    matched = _match(cells, exercise)
    if not matched:
        raise submissions.Unreadable("none of the exercise's cells is in it")
    by_place = {place: cell for cell, place in matched.items()}
    remarks: list[str] = []
    placed: list[Placed] = []
    waiting = list(exercise.cells)

    def put(ours: Cell) -> None:
        if ours.role != "plain" and (ours.id not in matched or ours.role in ("test", "locked")):
            placed.append(Placed(ours.kind, ours.given, ours, {}))
            if ours.id not in matched:
                remarks.append(f"{ours.id} {MISSING}")

    def put_back(until: Cell) -> None:
        """The release's own cells that come before `until`, where they have not been reached yet."""
        while waiting and waiting[0] is not until:
            ours = waiting[0]
            if ours.role not in ("test", "locked") and ours.id in matched:
                break  # the student's cell of it comes later
            waiting.pop(0)
            put(ours)

    for place, theirs in enumerate(cells):
        ours = exercise.by_id.get(by_place.get(place, ""))
        if ours is None:
            placed.append(_theirs(theirs, None))
        elif ours.role not in ("test", "locked"):
            put_back(ours)
            placed.append(_theirs(theirs, ours))
            if ours in waiting:
                waiting.remove(ours)
        else:
            if text(theirs).rstrip() != ours.given.rstrip() or theirs["cell_type"] != ours.kind:
                remarks.append(f"{ours.id} {CHANGED}")
            if ours in waiting:
                put_back(ours)
                if waiting and waiting[0] is ours:
                    waiting.pop(0)
                    placed.append(Placed(ours.kind, ours.given, ours, {}))
    for ours in waiting:
        put(ours)
    return placed, remarks


def told(remarks: Sequence[str], data: bytes, earlier: Sequence[str]) -> tuple[str, ...]:
    """The remarks on a file where earlier releases are known: what one of them gave out was not changed."""
    theirs = _texts(read(data))
    old: list[str] = []
    for given in earlier:
        cells = _texts(json.loads(given)["cells"])
        fits = [
            remark
            for remark in remarks
            for name, _, how in [remark.partition(" ")]
            if (how == CHANGED and name in cells and cells[name] == theirs.get(name))
            or (how == MISSING and name not in cells)
        ]
        old = max(old, fits, key=len)
    names = ", ".join(remark.partition(" ")[0] for remark in old)
    new = (f"it is of an earlier release: graded with {names} of the later one",) if old else ()
    return (*new, *(remark for remark in remarks if remark not in old))


def _texts(cells: Iterable[dict[str, Any]]) -> dict[str, str]:
    """What cells say, by the names they go by."""
    return {str(_grade_id(cell) or cell.get("id")): text(cell).rstrip() for cell in cells}


def _theirs(cell: dict[str, Any], of: Cell | None) -> Placed:
    kind = of.kind if of is not None and of.role == "answer" else cell["cell_type"]
    return Placed(kind, text(cell), of, _pictures(cell.get("attachments")))


def _pictures(attachments: Any) -> dict[str, Any]:
    """A cell's attachments, without what has another form than a picture's."""
    return {
        name: {kind: data for kind, data in bundle.items() if _is_text(data)}
        for name, bundle in (attachments.items() if isinstance(attachments, dict) else ())
        if isinstance(bundle, dict)
    }


def _is_text(data: Any) -> bool:
    return type(data) is str or (type(data) is list and all(type(line) is str for line in data))


def _match(cells: list[dict[str, Any]], exercise: Exercise) -> dict[str, int]:
    """Which of the submission's cells is which of the release's: by grade id, cell id, content, likeness."""
    matched: dict[str, int] = {}
    taken: set[int] = set()

    def take(ours: str, place: int) -> None:
        if ours not in matched and place not in taken:
            matched[ours] = place
            taken.add(place)

    exact = {cell.given.strip(): cell.id for cell in reversed(exercise.cells) if cell.given.strip()}
    for place, cell in enumerate(cells):  # content says more than a name that was perhaps exchanged
        ours = exercise.by_id.get(exact.get(text(cell).strip(), ""))
        if ours is not None and ours.role in ("test", "locked"):
            take(ours.id, place)
    for key in (_grade_id, lambda cell: cell.get("id")):
        for place, cell in enumerate(cells):
            name = key(cell)
            if (
                isinstance(name, str)
                and name in exercise.by_id
                and (key is _grade_id or _may_be(cell, exercise.by_id[name]))
            ):
                take(name, place)
    for place, cell in enumerate(cells):
        if text(cell).strip() in exact:
            take(exact[text(cell).strip()], place)
    for before, ours in pairwise(exercise.cells):
        place = matched.get(before.id, len(cells)) + 1
        if (
            place < len(cells)
            and ours.role in ("solution", "answer")
            and cells[place]["cell_type"] == ours.kind
        ):
            take(ours.id, place)  # it stands behind the cell that it stood behind
    for ours in exercise.cells:
        if ours.role in ("solution", "answer") and ours.id not in matched:
            likeness = {
                place: difflib.SequenceMatcher(None, text(cell)[:2000], ours.given[:2000]).ratio()
                for place, cell in enumerate(cells)
                if place not in taken and cell["cell_type"] == ours.kind
            }
            best = max(likeness, key=lambda place: likeness[place], default=None)
            if best is not None and likeness[best] > 0.5:
                take(ours.id, best)
    return matched


def _may_be(cell: dict[str, Any], ours: Cell) -> bool:
    """Whether a cell without nbgrader's metadata can be the release's that its id names."""
    return bool(cell["cell_type"] == ours.kind)


def _grade_id(cell: dict[str, Any]) -> Any:
    block = cell["metadata"].get("nbgrader")
    return block.get("grade_id") if isinstance(block, dict) else None
