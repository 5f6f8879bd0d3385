"""nbgrader's own autograde, refused: it would run submissions in a stock kernel, unprotected, and mark anew.

A class's settings name `Refusal` as its exporter, so `nbgrader autograde` and formgrader's button stop before
they touch a file, and say what grades here.
"""

from typing import Any

from nbconvert.exporters import NotebookExporter
from nbgrader.converters import NbGraderException

WORDS = (
    "This class is graded by `python -m autograder grade FOLDER`, which runs submissions in a sandbox; "
    "nbgrader's own autograde would run them with your rights. If you trust every one of them, "
    "`python -m autograder grade FOLDER --engine kernel --trusted` runs stock kernels."
)


class Refusal(NotebookExporter):
    """The exporter that autograde gets."""

    def __init__(self, parent: Any = None, **_keywords: Any) -> None:
        """Say it where the instructor looks, in the program's log, which formgrader shows, and stop."""
        if parent is not None:
            parent.log.error(WORDS)
        raise NbGraderException(WORDS)
