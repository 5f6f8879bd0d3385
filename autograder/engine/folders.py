"""nbgrader's folders of a class: each submission written under another name and then renamed, so never half
there.

    submitted/STUDENT/EXERCISE/     the attempt that counts, and when it came in
    autograded/STUDENT/EXERCISE/    the notebook as it ran; nothing of a submission that failed
"""

import shutil
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from ..judge.verdict import Verdict

TIMESTAMP = "timestamp.txt"


class Counted(NamedTuple):
    """A verdict with the attempt that it is on, as that came in."""

    verdict: Verdict
    data: bytes
    when: datetime


def write(folder: Path, counted: Iterable[Counted]) -> None:
    """Write what came in and what became of it, and remove the notebooks that failed submissions had."""
    for verdict, data, when in counted:
        name = f"{verdict.exercise}.ipynb"
        submitted = {name: data, TIMESTAMP: timestamp(when).encode()}
        autograded = {name: verdict.notebook.encode()} if verdict.status == "graded" else {}
        _replace(folder / "submitted" / verdict.student / verdict.exercise, submitted)
        _replace(folder / "autograded" / verdict.student / verdict.exercise, autograded)


def is_written(folder: Path, verdict: Verdict, when: datetime) -> bool:
    """Whether both folders are there, with the time that nbgrader compares with the gradebook's."""
    submitted, autograded = (
        folder / name / verdict.student / verdict.exercise for name in ("submitted", "autograded")
    )
    try:
        is_dated = (submitted / TIMESTAMP).read_text(encoding="utf-8") == timestamp(when)
    except FileNotFoundError:
        return False
    return is_dated and autograded.is_dir() == (verdict.status == "graded")


def timestamp(when: datetime) -> str:
    """A time as nbgrader writes it."""
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f} UTC"


def _replace(place: Path, files: Mapping[str, bytes]) -> None:
    """Make a folder hold these files and no other; without files there is no folder. What is so stays."""
    if {path.name: path.read_bytes() for path in place.glob("*") if path.is_file()} == files:
        return
    new, old = (place.with_name(f".{place.name}.{word}") for word in ("new", "old"))
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    if files:
        new.mkdir(parents=True)
        for name, data in files.items():
            (new / name).write_bytes(data)
    if place.exists():
        place.rename(old)
    if new.exists():
        new.rename(place)
    shutil.rmtree(old, ignore_errors=True)
