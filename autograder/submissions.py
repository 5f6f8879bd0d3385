"""A notebook that was handed in, looked at before nbgrader sees it.

nbgrader leaves a submission that it cannot read without a mark, and one whose cells were deleted with marks
that nobody gave. Here the first is refused with a reason, and the second gets its cells back with a remark.
"""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # nbformat takes a second to load, and an ordinary notebook does without
    from nbformat import NotebookNode

LARGEST = 20_000_000  # bytes; a notebook with pictures has a few hundred thousand


class Unreadable(Exception):
    """A submission that cannot be graded; the message is the reason that is shown instead of a mark."""


def read(folder: Path, exercise: str) -> NotebookNode:
    """The notebook of an exercise that was handed in as a folder."""
    path = folder / f"{exercise}.ipynb"
    if not path.is_file():
        others = ", ".join(sorted(other.name for other in folder.glob("*.ipynb"))) or "no notebook"
        raise Unreadable(f"{path.name} is missing; there is {others}")
    if path.stat().st_size > LARGEST:
        raise Unreadable(f"larger than {LARGEST // 1_000_000} MB")
    return parse(path.read_bytes())


def parse(data: bytes) -> NotebookNode:
    """The notebook that the bytes of a file are."""
    if not data.strip():
        raise Unreadable("an empty file")
    try:
        tree = json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Unreadable(f"not UTF-8 text (byte {error.start})") from None
    except json.JSONDecodeError as error:
        end = (
            "cut off"
            if error.pos >= len(data.decode("utf-8").rstrip()) - 1 or "Unterminated" in error.msg
            else "broken"
        )
        raise Unreadable(f"not a notebook: its JSON is {end} in line {error.lineno}") from None
    except ValueError:  # Python reads no number of more than some thousand digits
        raise Unreadable("not a notebook: a number in it is too long") from None
    except RecursionError:
        raise Unreadable("not a notebook: its JSON is nested too deeply") from None
    if not isinstance(tree, dict) or "nbformat" not in tree:
        raise Unreadable("not a notebook: JSON of another kind")
    import nbformat
    from nbformat.validator import normalize

    try:
        notebook: NotebookNode
        with warnings.catch_warnings(action="ignore"):  # of what `normalize` mends
            # Older formats lack ids.
            _, notebook = normalize(nbformat.reads(data.decode("utf-8"), as_version=4))
            nbformat.validate(notebook)
    except Exception as error:  # noqa: BLE001  # whatever nbformat makes of a stranger's file
        raise Unreadable(f"not a valid notebook: {_invalid(error)}") from None
    return notebook


def _invalid(error: Exception) -> str:
    """What nbformat found, in a line. It quotes the file, or Python where it did not expect such a file."""
    import nbformat

    if isinstance(error, nbformat.NBFormatError):
        return str(error)[:100]
    place = list(getattr(error, "absolute_path", ()))
    if place[:1] == ["cells"] and len(place) > 1:
        return f"cell {place[1] + 1} has another form than Jupyter's"
    return "it has another form than Jupyter's"


def mend(notebook: NotebookNode, release: NotebookNode) -> list[str]:
    """Put back what was taken out of the release's own cells; say what was done.

    A cell is known by its grade id, or by its cell id when a tool has stripped nbgrader's metadata. Deleted
    cells return behind the cell they followed. A changed locked cell is only remarked: nbgrader restores it.
    """
    ours = {cell.metadata.nbgrader.grade_id: cell for cell in release.cells if "nbgrader" in cell.metadata}
    found: dict[str, int] = {}
    for place, cell in enumerate(notebook.cells):
        block = cell.metadata.pop("nbgrader", None)
        name = block.get("grade_id") if isinstance(block, dict) else None
        name = str(name if name in ours else cell.id)
        if name in ours:
            found[name] = place
    if not found:
        raise Unreadable("none of the exercise's cells is in it")
    remarks = []
    for name, place in found.items():
        cell, given = notebook.cells[place], ours[name]
        cell.metadata.nbgrader = copy.deepcopy(given.metadata.nbgrader)
        if _locked(given) and (cell.source != given.source or cell.cell_type != given.cell_type):
            remarks.append(f"{name} was changed: restored")
    place = 0
    for name, given in ours.items():
        if name in found:
            place = notebook.cells.index(next(c for c in notebook.cells if _grade_id(c) == name)) + 1
        else:
            notebook.cells.insert(place, copy.deepcopy(given))
            place += 1
            remarks.append(f"{name} was missing: put back")
    return remarks


def restore(notebook: NotebookNode, source: NotebookNode) -> None:
    """Give a mended notebook the source's locked cells, hidden tests and all, and clear its outputs."""
    whole = {_grade_id(cell): cell for cell in source.cells if _locked(cell)}
    for place, cell in enumerate(notebook.cells):
        given = whole.get(_grade_id(cell))
        if given is not None:
            notebook.cells[place] = copy.deepcopy(given)
        elif cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None


def untouched(notebook: NotebookNode, release: NotebookNode) -> list[str]:
    """The cells for the learner that are still as they were given."""
    mine = {_grade_id(cell): cell.source for cell in notebook.cells}
    return [
        _grade_id(cell)
        for cell in release.cells
        if cell.metadata.get("nbgrader", {}).get("solution") and mine.get(_grade_id(cell)) == cell.source
    ]


def _grade_id(cell: NotebookNode) -> str:
    return str(cell.metadata.get("nbgrader", {}).get("grade_id", ""))


def _locked(cell: NotebookNode) -> bool:
    return bool(cell.metadata.get("nbgrader", {}).get("locked", False))
