'''The sample class: a small file a submission says what it is, what it changes and what it must score.

    """
    what = "TR is forgotten: the NMI at STGI finds the guest's task state."
    [expect]
    test_nmi = 0
    """

    # %% exercise="vcpu_enter_exit"
    def vcpu_enter_exit(cpu, vcpu):
        ...

The file is autograder/sample_class/EXERCISE/STUDENT.py. Its docstring is TOML:

    what     what this submission is, in a sentence
    start    "solution" (default): the solution's cells are handed in, but for those that follow;
             "release": the exercise as it was given out, but for those that follow
    expect   the scores that are not what one expects: full points for a test, 0 for a bonus.
             `every = 0` first sets all of them
    remark   words that the report must hold about a mended submission
    failed   words of the reason for which it cannot be graded; then there are no scores
    damage   what happens to the file: "truncated", "empty", "renamed", "stripped" (of nbgrader's metadata)
    delete   ids of cells that are taken out

A cell that follows replaces the one with its header's name: `exercise="…"`, `answer="…"`, or `test="…"` and
`bonus="…"` for tampered tests. A written answer that is not the release's waits for a hand.
'''

from __future__ import annotations

import copy
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from . import notebooks

if TYPE_CHECKING:  # nbformat takes a second to load, and whoever grades a class does without
    from nbformat import NotebookNode

FOLDER = notebooks.ROOT / "autograder" / "sample_class"
KEYS = {"what", "start", "expect", "remark", "failed", "damage", "delete"}
PREFIX = {"exercise": "", "answer": "", "test": "test_", "bonus": "bonus_"}
DAMAGES = ("", "truncated", "empty", "renamed", "stripped")


class Sample(NamedTuple):
    """A submission of the sample class: whose, of what, what its docstring says, and its own cells."""

    student: str
    exercise: str
    says: dict[str, Any]
    cells: dict[str, str]


class SampleError(Exception):
    """A sample file that makes no submission; the message is one line and names the file."""


def read(path: Path) -> Sample:
    """The submission that a file describes."""
    import jupytext

    where = f"{path.parent.name}/{path.name}"
    text = path.read_text(encoding="utf-8")
    try:
        _, docstring, rest = text.split('"""', 2)
        says = tomllib.loads(docstring)
    except ValueError as error:  # tomllib's errors are of this kind, too
        raise SampleError(f'{where}: it begins with a """docstring""" in TOML ({error})') from None
    if "what" not in says or says.keys() - KEYS:
        raise SampleError(
            f"{where}: its docstring needs what=, and may have {', '.join(sorted(KEYS - {'what'}))}"
        )
    if says.get("start", "solution") not in {"solution", "release"} or says.get("damage", "") not in DAMAGES:
        raise SampleError(f"{where}: start= is solution or release, damage= one of {', '.join(DAMAGES[1:])}")
    cells = {}
    for cell in jupytext.reads(rest.strip(), fmt="py:percent").cells if rest.strip() else []:
        roles = [role for role in PREFIX if role in cell.metadata]
        if len(roles) != 1:
            raise SampleError(
                f'{where}: each cell\'s header names one cell of the exercise, as in exercise="name"'
            )
        cells[PREFIX[roles[0]] + cell.metadata[roles[0]]] = cell.source
    return Sample(path.stem, path.parent.name, says, cells)


def read_all(folder: Path = FOLDER) -> list[Sample]:
    """Every submission of a sample class, exercise by exercise."""
    return [read(path) for path in sorted(folder.glob("[0-9][0-9]_*/*.py"))]


def notebook(sample: Sample, release: NotebookNode, source: NotebookNode) -> NotebookNode:
    """What the student hands in, before any damage."""
    handed_in = copy.deepcopy(release)
    ids = {cell.id for cell in handed_in.cells}
    if strange := sorted((sample.cells.keys() | set(sample.says.get("delete", []))) - ids):
        raise SampleError(
            f"{sample.exercise}/{sample.student}.py: the exercise has no cell {', '.join(strange)}"
        )
    solved = {} if sample.says.get("start") == "release" else {cell.id: cell.source for cell in source.cells}
    for cell in handed_in.cells:
        if cell.metadata.get("nbgrader", {}).get("solution"):
            cell.source = solved.get(cell.id, cell.source)
        cell.source = sample.cells.get(cell.id, cell.source)
        if sample.says.get("damage") == "stripped":
            cell.metadata.pop("nbgrader", None)
    handed_in.cells = [cell for cell in handed_in.cells if cell.id not in sample.says.get("delete", [])]
    return handed_in


def hand_in(sample: Sample, received: Path, script: Path) -> None:
    """Write a submission into a class's received/ as it would come in, damage and all."""
    import nbformat

    release, source = (
        nbformat.reads(make(script), as_version=4) for make in (notebooks.exercise, notebooks.source)
    )
    text = nbformat.writes(notebook(sample, release, source))
    damage = sample.says.get("damage", "")
    if damage == "truncated":
        text = text[: len(text) // 2]
    elif damage == "empty":
        text = ""
    name = "Untitled.ipynb" if damage == "renamed" else f"{sample.exercise}.ipynb"
    path = received / sample.student / sample.exercise / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def expected(sample: Sample, release: NotebookNode) -> dict[str, float | None]:
    """The score that each graded cell of a submission must get; None: it waits for a hand."""
    expect = sample.says.get("expect", {})
    scores: dict[str, float | None] = {}
    for cell in release.cells:
        block = cell.metadata.get("nbgrader", {})
        if not block.get("grade"):
            continue
        if block["solution"]:
            is_given = cell.id not in sample.cells and sample.says.get("start") == "release"
            scores[cell.id] = 0 if is_given or cell.id in sample.says.get("delete", []) else None
        else:
            usual = 0 if cell.id.startswith("bonus_") else block["points"]
            scores[cell.id] = expect.get(cell.id, expect.get("every", usual))
    if strange := sorted(expect.keys() - scores.keys() - {"every"}):
        raise SampleError(
            f"{sample.exercise}/{sample.student}.py: expect names no test: {', '.join(strange)}"
        )
    return scores
