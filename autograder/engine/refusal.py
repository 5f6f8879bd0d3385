"""nbgrader's own autograde, refused: it would run submissions in a stock kernel, unprotected, and mark anew.

A class's settings name `Refusal` as its exporter, so `nbgrader autograde` and formgrader's button stop before
they touch a file, and say what grades here.
"""

from typing import Any, NoReturn

from nbconvert.exporters import NotebookExporter
from nbgrader.converters import NbGraderException

WORDS = (
    "This class is graded by `python -m autograder grade FOLDER`, which runs submissions in a sandbox; "
    "nbgrader's own autograde would run them with your rights. If you trust every one of them, "
    "`python -m autograder grade FOLDER --engine kernel` runs stock kernels."
)


class Refusal(NotebookExporter):
    """The exporter that autograde gets."""

    def __init__(self, parent: Any = None, **_keywords: Any) -> None:
        self.refuse(parent)

    @staticmethod
    def refuse(app: Any) -> NoReturn:
        """Say it where the instructor looks: in the program's log, which formgrader shows."""
        if app is not None:
            app.log.error(WORDS)
        raise NbGraderException(WORDS)
