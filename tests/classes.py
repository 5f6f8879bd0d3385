"""A tiny class for the tests of the instructor's side: released once, copied for each test; its inboxes."""

import shutil
import zipfile
from datetime import UTC, datetime
from pathlib import Path

from autograder import notebooks, release, sample
from autograder.classes import attempts, gradebook, outcomes
from autograder.classes.attempts import Attempt
from autograder.classes.outcomes import Outcome

TINY = Path(__file__).parent / "tiny"
SCRIPTS = notebooks.scripts(TINY / "solutions")
EXERCISE = SCRIPTS[0].stem
RELEASED: list[Path] = []


def released(tmp_path_factory) -> Path:
    """The class folder that all tests of this process copy from."""
    if not RELEASED:
        folder = tmp_path_factory.mktemp("released") / "class"
        release.new(folder, zone="Europe/Berlin")
        release.release(folder, SCRIPTS)
        RELEASED.append(folder)
    return RELEASED[0]


def copy(tmp_path_factory, to: Path) -> Path:
    """A class folder of the caller's own."""
    shutil.copytree(released(tmp_path_factory), to)
    (to / "nbgrader_config.py").chmod(0o600)
    return to


def handed_in(student="s01_right", tmp=None) -> bytes:
    """The notebook that a student of the tiny sample class hands in."""
    one = next(one for one in sample.read_all(TINY / "sample_class") if one.student == student)
    sample.hand_in(one, tmp, SCRIPTS[0])
    [path] = (tmp / student).rglob("*.ipynb")
    return path.read_bytes()


def zipped(path: Path, files: dict[str, bytes], when=(2026, 12, 2, 9, 0, 0)) -> Path:
    """A zip archive made at `when`."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, when), data)
    return path


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def arrived(folder: Path, student: str, when: str, *, late=False, exact=True, data=b"{}") -> Attempt:
    """An attempt of a student, in received/."""
    one = Attempt(student, EXERCISE, utc(when), exact, late, attempts.digest(data + when.encode()), "", "")
    attempts.store(folder, one, data)
    attempts.write(folder, [*attempts.read(folder), one])
    return one


def graded(folder: Path, attempt: Attempt, *, status="graded", reason="", hands=True, **scores) -> None:
    """A submission in the gradebook as nbgrader itself would leave it, and its outcome."""
    from nbgrader.api import Gradebook

    said = Outcome(attempt.student, attempt.exercise, attempt.digest, status, reason)
    outcomes.append(folder, [said])
    if not scores:
        return
    with Gradebook(gradebook.url(folder), "svmlib") as book:
        book.update_or_create_student(attempt.student)
        submission = book.update_or_create_submission(EXERCISE, attempt.student)
        for grade in submission.notebooks[0].grades:
            grade.auto_score = scores.get(grade.name)
            grade.needs_manual_grade = grade.auto_score is None
            if hands and grade.name == "why":
                grade.manual_score, grade.needs_manual_grade, grade.auto_score = scores["why"], False, None
        book.db.commit()


FULL = {"test_swap": 2, "test_words": 1, "bonus_arguments": 0.5, "why": 2}
