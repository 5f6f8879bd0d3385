"""One submission -> its verdict: the student's cells run in their process, the tests on this side."""

import json
import re
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from .. import submissions, wire
from . import restore
from .cells import Mismatch, Session
from .conversation import Conversation, Lost, Tampering
from .exercise import Cell, Exercise
from .memory import Memory, Outcome
from .release import Submission
from .verdict import Mark, Verdict

#: What a notebook holds as JSON, not as text.
JSON = re.compile(r"application/(.*\+)?json")


class Limits(NamedTuple):
    """Seconds: for a cell, for one question to a student's function, for a submission."""

    cell: float = 20
    question: float = 5
    submission: float = 120


class Process(NamedTuple):
    """A student's process: the connection, how to interrupt it, and what is known of it once it has ended."""

    channel: wire.Channel
    interrupt: Callable[[], None]
    #: Ends it for good; returns how it had ended before ("" when it had not), and its peak memory in kB.
    end: Callable[[], tuple[str, int]]


class WorthError(Exception):
    """A test gave a number that is no part of its points: the exercise is wrong, not the submission."""


def grade(
    submission: Submission,
    exercise: Exercise | None,
    memory: Memory,
    start: Callable[[], AbstractContextManager[Process]],
    limits: Limits = Limits(),
) -> Verdict:
    """Grade one submission in a fresh process from `start`. Every submission gets a verdict."""
    began = time.monotonic()
    blank = Verdict(submission.student, submission.exercise, "failed", digest=submission.digest)
    try:
        if exercise is None:
            raise submissions.Unreadable("there is no such exercise in this class")
        placed, remarks = restore.arrange(restore.read(submission.data), exercise)
    except submissions.Unreadable as error:
        return blank._replace(reason=str(error), seconds=time.monotonic() - began)
    with start() as process:
        run = _Run(exercise, placed, process, memory, limits)
        is_misled = False
        verdict = blank._replace(remarks=tuple(remarks), status="graded")
        try:
            run.all_cells()
            verdict = run.verdict(verdict)
        except Lost as lost:
            how, _ = process.end()
            reason = f"{how or lost}, in {run.at}"
            verdict = verdict._replace(status="failed", reason=reason)
        except (Tampering, wire.WireError) as found:
            verdict = verdict._replace(status="tampered", reason=f"{found}, in {run.at}")
        except WorthError as error:
            verdict = verdict._replace(status="failed", reason=str(error))
        except Mismatch:
            memory.forget()
            is_misled = memory.remembers
        _, peak = process.end()
    if is_misled:  # once more, asking all
        return grade(submission, exercise, Memory(remembers=False), start, limits)
    return verdict._replace(
        seconds=time.monotonic() - began,
        questions=run.conversation.asked,
        remembered=run.session.remembered_cells,
        instructions=run.instructions,
        peak=peak,
    )


class _Run:
    """The cells of one submission, one after the other."""

    def __init__(
        self,
        exercise: Exercise,
        placed: list[restore.Placed],
        process: Process,
        memory: Memory,
        limits: Limits,
    ):
        self.exercise, self.placed, self.limits = exercise, placed, limits
        self.conversation = Conversation(process.channel, process.interrupt, limits.submission)
        self.session = Session(self.conversation, memory, limits.question)
        self.at = "its first cell"
        self.instructions = 0
        self.marks: dict[str, Mark] = {}
        #: The outputs of each placed cell: for the grader's eyes, and for the student's.
        self.outputs: list[tuple[list[Any], list[Any]]] = []

    def all_cells(self) -> None:
        """Run them all."""
        for number, cell in enumerate(self.placed, 1):
            self.at = cell.of.id if cell.of is not None and cell.of.role != "plain" else f"cell {number}"
            if cell.of is not None and cell.of.role == "answer":
                self.marks[cell.of.id] = _by_hand(cell, cell.of)
            if cell.of is not None and cell.of.role == "test":
                self.outputs.append(self._test(cell.of))
            elif cell.kind == "code":
                self.outputs.append(self._students(cell.source, number))
            else:
                self.outputs.append(([], []))

    def _students(self, source: str, number: int) -> tuple[list[Any], list[Any]]:
        question = {"do": "cell", "source": source, "number": number}
        answer = json.loads(self.conversation.ask(json.dumps(question), self.limits.cell))
        outputs = answer.get("outputs", [])
        if "stopped" in answer:
            words = f"stopped after {self.limits.cell:g} s"
            outputs = [_error_output("KeyboardInterrupt", words)]
        found = _cleaned(outputs)
        return found, found

    def _test(self, cell: Cell) -> tuple[list[Any], list[Any]]:
        outcome = self.session.run(self.exercise.tests[cell.id])
        self.instructions += outcome.instructions
        self.marks[cell.id] = _mark(cell, outcome)
        # What a test cell's visible part defines is there for the cells after it, as in the notebook.
        self.conversation.before.append((cell.given, self.limits.cell))
        shown = _outputs(outcome)
        return [*_cleaned(list(outcome.students)), *shown], shown

    def verdict(self, verdict: Verdict) -> Verdict:
        """The verdict with marks and notebooks."""
        ours, theirs = self._notebooks()
        return verdict._replace(marks=self.marks, notebook=ours, feedback=theirs)

    def _notebooks(self) -> tuple[str, str]:
        ours, theirs = (
            [
                _cell(cell, number, self.outputs[number - 1][side], whole=side == 0)
                for number, cell in enumerate(self.placed, 1)
            ]
            for side in (0, 1)
        )
        metadata = self.exercise.notebook["metadata"]
        return _notebook(ours, metadata), _notebook(theirs, metadata)


def _notebook(cells: list[dict[str, Any]], metadata: dict[str, Any]) -> str:
    """The text of a notebook, a line for each cell: indented as Jupyter does, it takes ten times as long."""
    lines = ",\n".join(json.dumps(cell, ensure_ascii=False, sort_keys=True) for cell in cells)
    rest = json.dumps({"metadata": metadata, "nbformat": 4, "nbformat_minor": 5}, ensure_ascii=False)
    return _text(f'{{"cells": [\n{lines}\n], {rest[1:]}\n')


def _mark(cell: Cell, outcome: Outcome) -> Mark:
    """The mark by nbgrader's own rule: nothing after an error or a complaint on stderr, part marks from the
    last value.
    """
    why = ": ".join(part for part in outcome.error or () if part)
    if outcome.error and not outcome.error[1] and outcome.error[0] == "AssertionError":
        why = "an assertion does not hold"
    if outcome.error:
        return Mark(0.0, cell.worth, reason=why)
    students = [item for item in outcome.students if item["name"] == "stderr"]
    if outcome.complained or students:
        return Mark(0.0, cell.worth, reason="something was written to stderr")
    if outcome.value is None or outcome.value < 0:
        return Mark(cell.worth, cell.worth)
    if not outcome.value <= cell.worth:
        raise WorthError(f"{cell.id} gave {outcome.value:g} of {cell.worth:g} points")
    reason = outcome.printed.strip() if outcome.value < cell.worth else ""
    return Mark(outcome.value, cell.worth, reason=reason)


def _by_hand(cell: restore.Placed, ours: Cell) -> Mark:
    """A written answer: nothing when it is as it was given out, else it waits for a hand."""
    if ours.role == "answer" and cell.source == ours.given:
        return Mark(0.0, ours.worth, by_hand=True, reason="not answered", comment="No response.")
    return Mark(None, ours.worth, by_hand=True)


def _outputs(outcome: Outcome) -> list[dict[str, Any]]:
    """What a test cell shows: what the checks said, the value, the error without the way to it."""
    shown: list[dict[str, Any]] = [
        {"output_type": "stream", "name": name, "text": _text(text)}
        for name, text in (("stdout", outcome.printed), ("stderr", outcome.complained))
        if text
    ]
    if outcome.error:
        return [*shown, _error_output(*outcome.error)]
    if outcome.value is not None:
        data = {"text/plain": f"{outcome.value:g}"}
        shown.append({"output_type": "execute_result", "data": data, "metadata": {}, "execution_count": None})
    return shown


def _error_output(kind: str, words: str) -> dict[str, Any]:
    line = _text(f"{kind}: {words}" if words else kind)
    return {"output_type": "error", "ename": _text(kind), "evalue": _text(words), "traceback": [line]}


def _cell(cell: restore.Placed, number: int, outputs: list[Any], *, whole: bool) -> dict[str, Any]:
    """A cell of the notebook that is kept; only the grader's own has the hidden code."""
    ours = cell.of
    source = ours.source if whole and cell.is_ours and ours is not None else cell.source
    metadata = {"nbgrader": ours.block} if ours is not None and ours.block else {}
    made: dict[str, Any] = {
        "id": ours.id if ours is not None else f"added-{number}",
        "cell_type": cell.kind,
        "metadata": metadata,
        "source": _text(source),
    }
    if cell.kind == "code":
        made |= {"execution_count": None, "outputs": outputs}
    elif cell.attachments:
        made["attachments"] = cell.attachments
    return made


def _cleaned(outputs: Any) -> list[dict[str, Any]]:
    """A student's outputs as a notebook may hold them; what has another form is left out."""
    found: list[dict[str, Any]] = []
    for item in outputs if type(outputs) is list else []:
        kind = item.get("output_type") if type(item) is dict else None
        if kind == "stream" and item.get("name") in ("stdout", "stderr"):
            found.append({"output_type": kind, "name": item["name"], "text": _text(item.get("text", ""))})
        elif kind == "error":
            lines = item.get("traceback", [])
            found.append(
                {
                    "output_type": kind,
                    "ename": _text(item.get("ename", "")),
                    "evalue": _text(item.get("evalue", "")),
                    "traceback": [_text(line) for line in lines] if type(lines) is list else [],
                }
            )
        elif kind in ("display_data", "execute_result") and type(item.get("data")) is dict:
            made = {"output_type": kind, "data": _data(item["data"]), "metadata": {}}
            found.append(made | ({"execution_count": None} if kind == "execute_result" else {}))
    return found


def _data(data: dict[str, Any]) -> dict[str, Any]:
    """A bundle of representations. JSON stays JSON; all else is text."""
    return {
        _text(kind): _json(value)
        if JSON.fullmatch(kind)
        else _text(value if type(value) is str else str(value))
        for kind, value in data.items()
    }


def _json(value: Any) -> Any:
    """JSON that every reader of a notebook takes: no NaN, and nested no deeper than what may cross."""
    level = [value]
    for _ in range(wire.DEPTH):
        level = [below for item in level for below in _below(item)]
    return "nested too deeply" if level else json.loads(json.dumps(value), parse_constant=lambda _: None)


def _below(item: Any) -> Iterable[Any]:
    if type(item) is dict:
        return item.values()
    return item if type(item) is list else ()


def _text(text: Any) -> str:
    """Text that can be written as UTF-8."""
    return str(text).encode("utf-8", "replace").decode("utf-8")
