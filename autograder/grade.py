"""A class graded: submissions are checked, nbgrader grades them, its gradebook gives the marks."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat

from . import notebooks, release, sample, stock, submissions
from .report import Cell, Row

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
    _prepare(folder, scripts, is_sample=handed_in is None)
    received = folder / "received"
    if json.loads((folder / "class.json").read_text(encoding="utf-8"))["sample"]:
        shutil.rmtree(received, ignore_errors=True)
        by_name = {script.stem: script for script in scripts}
        for one in sample.read_all(samples):
            if one.exercise not in by_name:
                raise sample.SampleError(
                    f"{one.exercise}/{one.student}.py: there is no such exercise in solutions/"
                )
            sample.hand_in(one, received, by_name[one.exercise])
    elif handed_in is not None:
        shutil.copytree(handed_in, received, dirs_exist_ok=True)
    checked = list(_check(folder, received, [script.stem for script in scripts]))
    jobs = [(row.student, row.exercise) for row in checked if not row.reason]
    reasons = stock.grade(folder, jobs, workers)
    return [_outcome(folder, row, reasons) for row in checked]


def _prepare(folder: Path, scripts: list[Path], *, is_sample: bool) -> None:
    """Release a new class; a sample class whose release is out of date is made anew."""
    if (folder / "class.json").exists():
        was_sample = json.loads((folder / "class.json").read_text(encoding="utf-8"))["sample"]
        if was_sample and not is_sample:
            raise release.ReleaseError(f"{folder} holds the sample class: choose another class folder")
        changed = release.differences(folder, scripts)
        if not changed:
            return
        if not was_sample:
            raise release.ReleaseError(
                f"{folder} was released with something else: {', '.join(changed)}. "
                "Grade it with the course as it was released, or make a new class folder"
            )
        shutil.rmtree(folder)
        release.open_folder(folder)
    release.release(folder, scripts, sample=is_sample)


def _check(folder: Path, received: Path, exercises: list[str]) -> Iterator[Row]:
    """Look at every received submission; what can be graded goes to submitted/, mended where it must be."""
    places = [place for place in received.glob("*/*") if place.is_dir() or place.suffix == ".ipynb"]
    for place in sorted(place for place in places if not place.name.startswith(".")):
        student, exercise = place.parent.name, place.stem if place.is_file() else place.name
        target = folder / "submitted" / student / exercise
        try:
            if place.is_file():
                raise submissions.Unreadable(
                    f"it belongs one folder deeper: {student}/{exercise}/{place.name}"
                )
            if exercise not in exercises:
                raise submissions.Unreadable("there is no such exercise in this class")
            if not re.fullmatch(r"\w[\w.@-]*", student):
                raise submissions.Unreadable(
                    "a student's folder is named with letters, digits and . _ @ - only"
                )
            given = nbformat.read(folder / "release" / exercise / f"{exercise}.ipynb", as_version=4)
            notebook = submissions.read(place, exercise)
            remarks = submissions.mend(notebook, given)
        except submissions.Unreadable as error:
            for stage in ("submitted", "autograded", "feedback"):
                shutil.rmtree(folder / stage / student / exercise, ignore_errors=True)
            yield Row(student, exercise, {}, str(error))
        else:
            target.mkdir(parents=True, exist_ok=True)
            nbformat.write(notebook, target / f"{exercise}.ipynb")
            yield Row(student, exercise, {}, "", tuple(remarks))


def _outcome(folder: Path, row: Row, reasons: dict[stock.Job, str]) -> Row:
    """The row of a submission with its marks, or with the reason why nbgrader has none."""
    from nbgrader.api import Gradebook

    if row.reason or reasons[row.student, row.exercise]:
        return row._replace(reason=row.reason or reasons[row.student, row.exercise])
    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}", "svmlib") as gradebook:
        graded = gradebook.find_submission_notebook(row.exercise, row.exercise, row.student)
        cells = {
            grade.name: Cell(
                grade.max_score,
                None if grade.needs_manual_grade else grade.score,
                grade.cell.cell_type == "markdown",
            )
            for grade in graded.grades
        }
    return row._replace(cells=cells)
