"""Stock kernels instead of the judge: for audits, and for notebooks that need a kernel. Trusted submissions
only.

The same cells as the judge grades, in nbgrader's own execution, marked by nbgrader's own rule.
"""

import json
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from .. import submissions
from ..judge import restore
from ..judge.exercise import Exercise
from ..judge.release import Release, Submission
from ..judge.verdict import Mark, Verdict

if TYPE_CHECKING:
    from .pool import Options


def grade(release: Release, waiting: Iterable[Submission], options: "Options") -> Iterator[Verdict]:
    """Grade submissions in stock kernels, several at a time; one that takes its process down is failed."""
    left = list(waiting)
    workers = options.workers or os.cpu_count() or 1
    while left:
        done: set[Submission] = set()
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            futures = {pool.submit(_one, release, submission): submission for submission in left}
            for future in as_completed(futures):
                try:
                    yield future.result()
                    done.add(futures[future])
                except BrokenProcessPool:
                    continue
        left = [submission for submission in left if submission not in done]
        if left and workers == 1:
            culprit = left.pop(0)
            yield _failed(culprit, "it took the grading process down")
        workers = 1


def _one(release: Release, submission: Submission) -> Verdict:
    """Grade one submission in a fresh kernel."""
    from .. import run

    began = time.monotonic()
    name = submission.exercise
    try:
        if name not in release.sources:
            raise submissions.Unreadable("there is no such exercise in this class")
        exercise = Exercise(name, release.sources[name], release.given[name])
        placed, remarks = restore.arrange(restore.read(submission.data), exercise)
    except submissions.Unreadable as error:
        return _failed(submission, str(error))
    os.environ["SVMLIB_SEED"] = release.seeds[name]
    try:
        ran = run.run(json.dumps(_notebook(placed, exercise)))
        scores = run.marks(ran)
    except Exception as error:  # noqa: BLE001  # whatever nbclient makes of a stranger's notebook
        return _failed(submission, str(error).strip().splitlines()[0][:200] or type(error).__name__)
    marks = {}
    for cell in ran.cells:
        block = cell.metadata.get("nbgrader", {})
        if block.get("grade"):
            errors = [
                output.evalue or output.ename for output in cell.get("outputs", []) if "ename" in output
            ]
            by_hand = exercise.by_id[block["grade_id"]].role == "answer"
            why = str(errors[0]) if errors else ""
            marks[block["grade_id"]] = Mark(scores[block["grade_id"]], float(block["points"]), by_hand, why)
    text = json.dumps(ran, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
    return Verdict(
        submission.student, name, "graded", "", marks, tuple(remarks), submission.digest,
        time.monotonic() - began, notebook=text,
    )  # fmt: skip


def _notebook(placed: list[restore.Placed], exercise: Exercise) -> dict[str, Any]:
    cells = []
    for number, cell in enumerate(placed):
        ours = cell.of
        made: dict[str, Any] = {
            "id": ours.id if ours else f"added-{number}",
            "cell_type": cell.kind,
            "source": ours.source if ours and cell.is_ours else cell.source,
            "metadata": {"nbgrader": ours.block} if ours and ours.block else {},
        }
        cells.append(made | ({"outputs": [], "execution_count": None} if cell.kind == "code" else {}))
    return {"cells": cells, "metadata": exercise.notebook["metadata"], "nbformat": 4, "nbformat_minor": 5}


def _failed(submission: Submission, reason: str) -> Verdict:
    return Verdict(submission.student, submission.exercise, "failed", reason, digest=submission.digest)
