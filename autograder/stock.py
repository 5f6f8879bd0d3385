"""Stock nbgrader, several submissions at a time: autograde and feedback, each in a worker process.

Submissions run in ordinary kernels, with all that their owner may do: for trusted submissions only.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

from tqdm import tqdm

from . import release, run

Job = tuple[str, str]  # student, exercise
KNOWN = {
    "UnresponsiveKernelError": f"a cell could not be stopped after {run.TIMEOUT} s",
    "became unresponsive": f"a cell could not be stopped after {run.TIMEOUT} s",
    "DeadKernelError": "its kernel died",
    "cannot be greater than maximum points": "a test gave more than its points",
}


def grade(folder: Path, jobs: list[Job], workers: int | None = None) -> dict[Job, str]:
    """Grade the submissions of a class that are not graded yet; the reason of each that failed, else "".

    A submission that takes its worker down breaks the pool. What is left is then graded by one worker, where
    the first that has no result is the culprit: no bad submission stops the others.
    """
    workers = workers or min(4, os.cpu_count() or 1)
    reasons = {job: "" for job in jobs if is_graded(folder, *job)}
    _add_students(folder, sorted({student for student, _ in jobs}))
    with tqdm(total=len(jobs), initial=len(reasons), desc="grading", unit="submission") as bar:
        while waiting := [job for job in jobs if job not in reasons]:
            if not _pass(folder, waiting, workers, reasons, bar):
                continue
            if workers == 1:
                culprit = next(job for job in waiting if job not in reasons)
                reasons[culprit] = "it took the grading process down"
                shutil.rmtree(folder / "autograded" / Path(*culprit), ignore_errors=True)  # half made
                bar.update()
            workers = 1
    return reasons


def _pass(folder: Path, jobs: list[Job], workers: int, reasons: dict[Job, str], bar: "tqdm[None]") -> bool:
    """One pool's work; whether the pool broke."""
    broken = False
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(folder,)) as pool:
        futures = {pool.submit(autograde, folder, *job): job for job in jobs}
        for future in as_completed(futures):
            try:
                reasons[futures[future]] = future.result()
                bar.update()
            except BrokenProcessPool:
                broken = True
    return broken


def is_graded(folder: Path, student: str, exercise: str) -> bool:
    """Whether this very submission has been graded, to its end, under this class's release."""
    mark = folder / "autograded" / student / exercise / ".graded"
    return mark.exists() and mark.read_text(encoding="ascii") == _digest(folder, student, exercise)


def autograde(folder: Path, student: str, exercise: str) -> str:
    """Autograde one submission and write its feedback; the reason when it failed, else ""."""
    from nbgrader.converters import Autograde, GenerateFeedback
    from nbgrader.coursedir import CourseDirectory
    from nbgrader.utils import capture_log

    os.environ |= release.environment(folder, exercise)
    settings = release.config(folder)
    course = CourseDirectory(config=settings)
    course.student_id, course.assignment_id = student, exercise
    for converter in (Autograde, GenerateFeedback):
        app = converter(coursedir=course, config=settings)
        app.force = True
        result = capture_log(app)
        if not result["success"]:
            return reason(result.get("log", "") + result["error"])
    mark = folder / "autograded" / student / exercise / ".graded"
    mark.write_text(_digest(folder, student, exercise), encoding="ascii")
    return ""


def reason(log: str) -> str:
    """Why nbgrader failed, in a few words, from its log."""
    for sign, words in KNOWN.items():
        if sign in log:
            return words
    errors: Iterable[str] = re.findall(r"^(?:\w+\.)*(\w+(?:Error|Exception): .+)$", log, re.MULTILINE)
    return next(iter(errors), "nbgrader failed; see grading.log")


def _start(folder: Path) -> None:
    """Prepare a worker: a file for what nbgrader and its kernels say."""
    log = os.open(folder / "grading.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 2)


def _add_students(folder: Path, students: list[str]) -> None:
    """Enter the students before the workers do, who would do it at the same time."""
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}", "svmlib") as gradebook:
        for student in students:
            gradebook.update_or_create_student(student)


def _digest(folder: Path, student: str, exercise: str) -> str:
    return hashlib.sha256(
        (folder / "submitted" / student / exercise / f"{exercise}.ipynb").read_bytes()
    ).hexdigest()
