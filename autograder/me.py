"""A learner's own copies graded: the same cells and the same rule as for a class, with the public seed."""

import re
import tempfile
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbformat import NotebookNode

from . import notebooks, run, submissions
from .report import Cell, Row

WORK = notebooks.ROOT / "work"
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Mine(NamedTuple):
    """A learner's exercise: its row, the notebook as it ran, the source, the cells not begun."""

    row: Row
    ran: NotebookNode
    source: NotebookNode
    untouched: list[str]


def grade(script: Path, work: Path = WORK) -> Mine:
    """Grade the learner's copy of one exercise."""
    release, source = (
        nbformat.reads(make(script), as_version=4) for make in (notebooks.exercise, notebooks.source)
    )
    empty = nbformat.v4.new_notebook()
    try:
        if not (work / f"{script.stem}.ipynb").exists():
            raise submissions.Unreadable("there is no copy in work/: `make course` puts one there")
        mine = submissions.read(work, script.stem)
        remarks = submissions.mend(mine, release)
    except submissions.Unreadable as error:
        return Mine(Row("", script.stem, {}, str(error)), empty, source, [])
    untouched = submissions.untouched(mine, release)
    submissions.restore(mine, source)
    with tempfile.TemporaryDirectory() as folder:
        ran = run.run(nbformat.writes(mine), Path(folder))
    scores = run.marks(ran)
    worth = {cell.id: cell for cell in source.cells if cell.metadata.get("nbgrader", {}).get("grade")}
    cells = {
        name: Cell(cell.metadata.nbgrader.points, scores[name], cell.cell_type == "markdown")
        for name, cell in worth.items()
    }
    return Mine(Row("", script.stem, cells, "", tuple(remarks)), ran, source, untouched)


def said(cell: NotebookNode) -> list[str]:
    """What a cell printed when it ran, the checks' bills and symptoms, and the message of an error."""
    lines = []
    for output in cell.get("outputs", []):
        if output.output_type == "stream":
            lines += output.text.splitlines()
        elif output.output_type == "error":
            lines += str(output.evalue).splitlines() if output.evalue else [output.ename]
    return [COLOURS.sub("", line) for line in lines if line.strip()]


def text(mine: Mine) -> str:
    """The report on one exercise: points, what the checks said, what is missing, how to mark the answer."""
    row = mine.row
    lines = [f"{row.exercise}: {row.reason or row}"]
    if mine.untouched:
        lines.append(f"  not begun: {', '.join(mine.untouched)}")
    lines += [f"  {remark}" for remark in row.remarks]
    ran = {cell.metadata.get("nbgrader", {}).get("grade_id"): cell for cell in mine.ran.cells}
    for name, cell in row.cells.items():
        if cell.by_hand:
            continue
        noted = [line for line in said(ran[name]) if not line.startswith("ok:")]
        blank = bool(noted) and noted[0].startswith("Not written yet")
        lines.append(f"  {name}: {cell.score:g} of {cell.worth:g}" + ", not written yet" * blank)
        lines += [f"      {line}" for line in noted if not blank]
    for place, cell in enumerate(mine.source.cells):
        if cell.id in row.cells and row.cells[cell.id].by_hand:
            lines += _answer(mine.source.cells[place - 1], cell, row.cells[cell.id])
    return "\n".join(lines)


def _answer(question: NotebookNode, answer: NotebookNode, cell: Cell) -> list[str]:
    """The model answer and the rubric, or for an answer that is not written only a word."""
    if cell.score == 0:
        return [f"  {answer.id}: {cell.worth:g} points, not written yet; then the model answer is shown here"]
    scheme = notebooks.SCHEME.search(question.source)
    rubric = scheme[0].strip().splitlines()[1:-1] if scheme else []
    model = [line for line in answer.source.splitlines() if not line.startswith(("###", "<!--"))]
    lines = [f"  {answer.id}: {cell.worth:g} points, mark it yourself", "    A model answer:"]
    return (
        lines
        + [f"      {line}" for line in model]
        + ["    The rubric:"]
        + [f"      {line}" for line in rubric]
    )
