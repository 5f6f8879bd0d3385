"""A notebook run in a fresh kernel, and marked: nbgrader's own execution and its own rule."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # nbformat takes a second to load, and whoever grades by the judge does without
    from nbformat import NotebookNode

TIMEOUT = 20  # seconds a cell may take; after them it is interrupted and counts as failed
SETTINGS = {
    "Execute": {
        "timeout": TIMEOUT,
        "interrupt_on_timeout": True,
        "extra_arguments": ["--log-level=ERROR", "--HistoryManager.hist_file=:memory:"],
    }
}


def run(text: str, folder: Path | None = None) -> NotebookNode:
    """The notebook with its outputs; an error in a cell does not stop the cells after it."""
    import nbformat
    from nbgrader.preprocessors import Execute
    from traitlets.config import Config

    notebook: NotebookNode = nbformat.reads(text, as_version=4)
    Execute(config=Config(SETTINGS)).preprocess(
        notebook, {"metadata": {"path": str(folder)}} if folder else {}
    )
    return notebook


def marks(notebook: NotebookNode) -> dict[str, float | None]:
    """The score of each graded cell of a notebook that has been run; None: it is marked by hand."""
    from nbgrader.utils import determine_grade, is_grade

    return {
        cell.metadata.nbgrader.grade_id: determine_grade(cell)[0] for cell in notebook.cells if is_grade(cell)
    }
