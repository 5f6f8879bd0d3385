r"""Percent scripts to notebooks: solutions/ gives exercises/, course/lessons/ gives course/.

    python -m autograder.notebooks            write what is stale, delete what has no source
    python -m autograder.notebooks --check    only name it

A cell's header says what the cell is. The first cell describes the notebook and begins with its heading:

    # %% [markdown] difficulty="moderate" minutes=25
    # # 2 · VMSAVE and VMLOAD

In solutions/ one word gives a cell its role, and thereby its id; other words belong to that role:

    # %% exercise="name"                     name: the learner writes what lies between BEGIN and END SOLUTION
    # %% points=2 test="name"                test_name: graded by the machine, with a HIDDEN TESTS region
    # %% bonus=2 expect=0 test="name"        bonus_name: beside the full marks; `expect`: the solution's
    # %% [markdown] points=2 answer="name"   name: the model answer, then its rubric in a MARK SCHEME region

The cell before an answer is its question. nbgrader restores locked cells only, so the rubric moves to the end
of the question: formgrader shows it, the release does not. Without a role a cell is given out as it is.

What the first cell says is kept in the notebook's metadata under "svmlib", with title, points and bonus.
nbgrader knows no bonus: its gradebook counts it in the full marks, our reports know it by its id.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # nbformat takes a second to load, and whoever grades a class does without
    from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
COMMAND = "python -m autograder.notebooks"
DIFFICULTIES = ("easy", "moderate", "hard")
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
JUPYTER = {"tags", "jupyter"}  # words of Jupyter's own, kept as they are
SETTINGS = {
    "ClearMarkScheme": {"enforce_metadata": False}
}  # rubrics lie in locked cells, not in nbgrader's tasks
SCHEME = re.compile(r"\n*^[#<!\- ]*BEGIN MARK SCHEME.*END MARK SCHEME[^\n]*", re.DOTALL | re.MULTILINE)


class Role(NamedTuple):
    """What a header word makes of its cell: nbgrader's flags, its type, the region it must hold."""

    flags: dict[str, bool]
    cell_type: str
    region: str


ROLES = {
    "exercise": Role({"solution": True}, "code", "SOLUTION"),
    "test": Role({"grade": True, "locked": True}, "code", "HIDDEN TESTS"),
    "answer": Role({"grade": True, "solution": True}, "markdown", "MARK SCHEME"),
}


class ScriptError(Exception):
    """A script that gives no notebook; the message is one line and names file and cell."""


def source(script: Path) -> str:
    """The whole notebook, as text: solutions, hidden tests and rubrics included."""
    return _text(_read(script, roles=True))


def lesson(script: Path) -> str:
    """A lesson's notebook, as text, without outputs."""
    return _text(_read(script, roles=False))


def exercise(script: Path) -> str:
    """The learner's notebook, as text: nbgrader's own steps, with no database between them."""
    from nbgrader.converters import GenerateAssignment
    from nbgrader.preprocessors import SaveCells
    from traitlets.config import Config

    notebook = _read(script, roles=True)
    resources: dict[str, Any] = {}
    for step in GenerateAssignment().preprocessors:
        if step is not SaveCells:
            notebook, resources = step(config=Config(SETTINGS)).preprocess(notebook, resources)
    return _text(notebook)


def expected(script: Path) -> dict[str, float]:
    """What the solution scores: the points of each test, and of each bonus what its header says."""
    cells = _read(script, roles=True).cells
    tests = [
        cell for cell in cells if cell.cell_type == "code" and cell.metadata.get("nbgrader", {}).get("grade")
    ]
    return {c.id: c.metadata.get("svmlib", {}).get("expect", c.metadata.nbgrader.points) for c in tests}


def scripts(folder: Path) -> list[Path]:
    """The scripts of a folder, in the order of their numbers."""
    return sorted(folder.glob("[0-9][0-9]_*.py"))


def _text(notebook: NotebookNode) -> str:
    import nbformat

    return str(nbformat.writes(notebook)) + "\n"


def _read(script: Path, *, roles: bool) -> NotebookNode:
    """The notebook of a script, every cell with its id and its role."""
    import jupytext
    import nbformat

    notebook: NotebookNode = jupytext.reads(script.read_text(encoding="utf-8"), fmt="py:percent")
    number = 1
    try:
        about = _describe(notebook.cells[0])
        for number, cell in enumerate(notebook.cells, 1):
            _annotate(cell, number, notebook.cells[number - 2] if number > 1 else None, roles=roles)
        seen: set[str] = set()
        for number, cell in enumerate(notebook.cells, 1):  # noqa: B007
            if cell.id in seen:
                raise ScriptError(f'a second cell with the id "{cell.id}"')
            seen.add(cell.id)
    except ScriptError as error:
        raise ScriptError(f"{script.parent.name}/{script.name}, cell {number}: {error}") from None
    worth = [
        (cell.id, cell.metadata.nbgrader.get("points", 0))
        for cell in notebook.cells
        if "nbgrader" in cell.metadata
    ]
    if worth:
        about["points"] = sum(points for name, points in worth if not name.startswith("bonus_"))
        about["bonus"] = sum(points for name, points in worth if name.startswith("bonus_"))
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": KERNEL, "language_info": {"name": "python"}, "svmlib": about}
    )
    notebook.nbformat_minor = 5
    return notebook


def _describe(cell: NotebookNode) -> dict[str, Any]:
    """What the first cell says of its notebook: title, difficulty and minutes."""
    heading = re.match(r"# (.+)", cell.source)
    if cell.cell_type != "markdown" or not heading:
        raise ScriptError('the first cell is markdown and begins with the heading: "# # 1 · Title"')
    difficulty, minutes = cell.metadata.pop("difficulty", None), cell.metadata.pop("minutes", None)
    if difficulty not in DIFFICULTIES:
        raise ScriptError(f"the first cell's header needs difficulty= one of {', '.join(DIFFICULTIES)}")
    if not isinstance(minutes, int):
        raise ScriptError("the first cell's header needs minutes= a whole number")
    return {"title": heading[1].strip(), "difficulty": difficulty, "minutes": minutes}


def _annotate(cell: NotebookNode, number: int, before: NotebookNode | None, *, roles: bool) -> None:
    """Give a cell its id and, when its header names a role, nbgrader's metadata."""
    cell.id = f"cell-{number}"
    if cell.cell_type == "code":
        cell.outputs, cell.execution_count = [], None
    words = {key: cell.metadata.pop(key) for key in list(cell.metadata) if key not in JUPYTER}
    words.pop("lines_to_next_cell", None)
    role = next((word for word in ROLES if word in words), None)
    if role and not roles:
        raise ScriptError(f'a lesson has no graded cells, but this one says {role}="{words[role]}"')
    if role:
        _give_role(cell, role, words)
        if role == "answer":
            _move_rubric(cell, before)
    if words:
        known = ", ".join(ROLES) if roles else "none in a lesson"
        raise ScriptError(f"unknown in its header: {', '.join(words)} (roles: {known})")


def _give_role(cell: NotebookNode, role: str, words: dict[str, Any]) -> None:
    """Turn the header's words into id and nbgrader's metadata; what was understood leaves `words`."""
    flags, cell_type, region = ROLES[role]
    name = words.pop(role)
    if not re.fullmatch(r"[a-z][a-z0-9_]*", str(name)):
        raise ScriptError(f'{role}="{name}": a name is lower-case letters, digits and underscores')
    if cell.cell_type != cell_type:
        raise ScriptError(f'{role}="{name}" is a {cell.cell_type} cell and must be {cell_type}')
    if f"BEGIN {region}" not in cell.source or f"END {region}" not in cell.source:
        raise ScriptError(f'{role}="{name}" has no region from BEGIN {region} to END {region}')
    is_bonus = role == "test" and "bonus" in words
    cell.id = f"{'bonus' if is_bonus else 'test'}_{name}" if role == "test" else name
    block: dict[str, Any] = {"grade": False, "solution": False, "locked": False, "task": False} | flags
    if block["grade"]:
        points = words.pop("bonus" if is_bonus else "points", None)
        if not isinstance(points, int | float) or points <= 0:
            raise ScriptError(f'{role}="{name}" needs points= a number above 0')
        block["points"] = points
    if is_bonus:
        expect = words.pop("expect", None)
        if not isinstance(expect, int | float) or not 0 <= expect <= block["points"]:
            raise ScriptError(f'bonus test="{name}" needs expect= what the solution scores')
        cell.metadata.svmlib = {"expect": expect}
    cell.metadata.nbgrader = block | {"schema_version": 3, "cell_type": cell_type, "grade_id": cell.id}


def _move_rubric(answer: NotebookNode, question: NotebookNode | None) -> None:
    """Lock the question in front of an answer, and move the answer's rubric to its end."""
    if question is None or question.cell_type != "markdown" or "nbgrader" in question.metadata:
        raise ScriptError(f'answer="{answer.id}" needs its question in the markdown cell before it')
    scheme = SCHEME.search(answer.source)
    if scheme is None:
        raise ScriptError(f'answer="{answer.id}": END MARK SCHEME comes before BEGIN MARK SCHEME')
    answer.source = SCHEME.sub("", answer.source).strip()
    question.source = f"{question.source.rstrip()}\n{scheme[0].strip()}"
    question.id = f"question_{answer.id}"
    flags = {"grade": False, "solution": False, "locked": True, "task": False}
    question.metadata.nbgrader = flags | {
        "schema_version": 3,
        "cell_type": "markdown",
        "grade_id": question.id,
    }


def generated(root: Path = ROOT) -> Iterator[tuple[Path, str]]:
    """Every notebook that the sources ask for: where it belongs, and its text."""
    for script in scripts(root / "course" / "lessons"):
        yield root / "course" / f"{script.stem}.ipynb", lesson(script)
    for script in scripts(root / "solutions"):
        yield root / "exercises" / f"{script.stem}.ipynb", exercise(script)


def main(argv: list[str] | None = None, root: Path = ROOT) -> int:
    """Bring exercises/ and course/ up to date, or with --check say what is not."""
    parser = argparse.ArgumentParser(
        prog=COMMAND, description="Make the notebooks from their percent scripts."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a notebook is stale")
    check = parser.parse_args(argv).check
    try:
        texts = dict(generated(root))
    except ScriptError as error:
        print(error, file=sys.stderr)
        return 1
    there = [*(root / "exercises").glob("*.ipynb"), *(root / "course").glob("*.ipynb")]
    stale = [path for path, text in texts.items() if not path.exists() or path.read_bytes() != text.encode()]
    strays = sorted(set(there) - set(texts))
    for path in stale + strays:
        word = "has no source" if path in strays else "is stale" if check else "written"
        print(f"{path.relative_to(root)}: {word}{', deleted' if path in strays and not check else ''}")
    if check and stale + strays:
        print(f"Repair with: {COMMAND}")
        return 1
    if not check:
        for path in stale:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(texts[path].encode())
        for path in strays:
            path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
