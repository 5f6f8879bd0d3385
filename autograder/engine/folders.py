"""nbgrader's folder autograded/: each submission written under another name and then renamed, so never half
there.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path

from ..judge.verdict import Verdict


def write(folder: Path, verdicts: Iterable[Verdict]) -> None:
    """Write the notebooks as they ran to autograded/STUDENT/EXERCISE/, and remove those of failed
    submissions.
    """
    for verdict in verdicts:
        place = folder / "autograded" / verdict.student / verdict.exercise
        new, old = (place.with_name(f".{place.name}.{word}") for word in ("new", "old"))
        for leftover in (new, old):
            shutil.rmtree(leftover, ignore_errors=True)
        if verdict.status == "graded":
            new.mkdir(parents=True)
            (new / f"{verdict.exercise}.ipynb").write_text(verdict.notebook, encoding="utf-8")
        if place.exists():
            place.rename(old)
        if new.exists():
            new.rename(place)
        shutil.rmtree(old, ignore_errors=True)
