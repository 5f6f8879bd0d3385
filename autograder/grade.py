"""A class graded: submissions are checked, nbgrader grades them, its gradebook gives the marks."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat

from . import notebooks, release, sample, stock, submissions
from .classes import attempts, collect, marks, outcomes
from .report import Row

WARNING = """\
For trusted submissions only: they run in ordinary kernels that may read and change whatever you may,
this class folder included."""


def grade(
    folder: Path,
    handed_in: Path | None = None,
    *,
    scripts: list[Path] | None = None,
    samples: Path = sample.FOLDER,
    workers: int | None = None,
) -> list[Row]:
    """Grade a class, in a class folder that is made when it is new.

    `handed_in` holds STUDENT/EXERCISE/EXERCISE.ipynb and is copied into the class first. Without it a new
    class is the sample class, and an old one is graded as it is. What is graded and has not changed is kept.
    """
    folder = release.open_folder(folder)
    scripts = notebooks.scripts(notebooks.ROOT / "solutions") if scripts is None else scripts
    if not scripts:
        raise release.ReleaseError("there are no exercises: solutions/ holds no NN_topic.py")
    is_new = not (folder / "class.json").exists()
    is_sample = handed_in is None and (is_new or bool(release.facts(folder)["sample"]))
    _prepare(folder, scripts, is_sample=is_sample)
    if is_sample:
        shutil.rmtree(folder / "received", ignore_errors=True)
        _hand_in_samples(folder, scripts, samples)
    elif handed_in is not None:
        list(collect.collect(folder, handed_in))
    checked = list(_check(folder))
    jobs = [(row.student, row.exercise) for row in checked if not row.reason]
    reasons = stock.grade(folder, jobs, workers)
    digests = {(c.attempt.student, c.attempt.exercise): c.attempt.digest for c in marks.choices(folder)}
    outcomes.rewrite(folder, [_outcome(row, reasons, digests) for row in checked])
    return marks.rows(folder)


def _prepare(folder: Path, scripts: list[Path], *, is_sample: bool) -> None:
    """Release a new class; a sample class whose release is out of date is made anew.

    A real class is graded with what was released, whatever the course has become since.
    """
    if (folder / "class.json").exists():
        was_sample = release.facts(folder)["sample"]
        if was_sample and not is_sample:
            raise release.ReleaseError(f"{folder} holds the sample class: choose another class folder")
        missing = {script.stem for script in scripts} - release.facts(folder)["exercises"].keys()
        if not was_sample or not (missing or release.differences(folder, scripts)):
            release.intact(folder)
            return
        shutil.rmtree(folder)
    release.new(folder, sample=is_sample)
    release.release(folder, scripts)


def _hand_in_samples(folder: Path, scripts: list[Path], samples: Path) -> None:
    """Hand in the sample class's files, as they would come in."""
    by_name = {script.stem: script for script in scripts}
    with tempfile.TemporaryDirectory() as inbox:
        for one in sample.read_all(samples):
            if one.exercise not in by_name:
                raise sample.SampleError(
                    f"{one.exercise}/{one.student}.py: there is no such exercise in solutions/"
                )
            sample.hand_in(one, Path(inbox), by_name[one.exercise])
        list(collect.collect(folder, Path(inbox), kind="flat"))


def _check(folder: Path) -> Iterator[Row]:
    """Look at every attempt that counts; what can be graded goes to submitted/, mended where it must be."""
    for choice in marks.choices(folder):
        student, exercise = choice.attempt.student, choice.attempt.exercise
        target = folder / "submitted" / student / exercise
        try:
            given = nbformat.read(folder / "release" / exercise / f"{exercise}.ipynb", as_version=4)
            notebook = submissions.parse(attempts.load(folder, choice.attempt))
            remarks = submissions.mend(notebook, given)
        except submissions.Unreadable as error:
            for stage in ("submitted", "autograded", "feedback"):
                shutil.rmtree(folder / stage / student / exercise, ignore_errors=True)
            yield Row(student, exercise, {}, str(error))
        else:
            target.mkdir(parents=True, exist_ok=True)
            nbformat.write(notebook, target / f"{exercise}.ipynb")
            if Path(choice.attempt.name).name != f"{exercise}.ipynb":
                remarks.append(f"it was called {Path(choice.attempt.name).name}")
            yield Row(student, exercise, {}, "", tuple(remarks))


def _outcome(row: Row, reasons: dict[stock.Job, str], digests: dict[stock.Job, str]) -> outcomes.Outcome:
    """What there is to keep of a submission beside its marks."""
    place = row.student, row.exercise
    reason = row.reason or reasons[place]
    return outcomes.Outcome(*place, digests[place], "failed" if reason else "graded", reason, row.remarks)
