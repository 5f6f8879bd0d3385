"""What the judge has seen of an exercise's test cells: questions, answers, and the outcome at their end.

Workers tell each other through files: each appends to its own, and reads what the others' have grown by.
Nobody ever waits for anybody, and a worker that ends in the middle of a record leaves one that is not read.
"""

import contextlib
import json
import os
import struct
import zlib
from typing import Any, NamedTuple

Question = dict[str, Any]
#: The questions that a test cell put, each with the answer that came.
Asked = list[tuple[str, bytes]]

#: Bytes of answers that are remembered before all of them are forgotten.
REMEMBERED = 64_000_000
#: Bytes of answers of a test cell that are remembered: an ordinary one has some hundred.
ORDINARY = 100_000
#: Bytes that a worker writes for the others at most.
SHARED = 64_000_000

_LENGTH = struct.Struct("!I")


class Outcome(NamedTuple):
    """What a test cell gave: its value, what it printed, the error that ended it in words, what it cost."""

    value: float | None
    printed: str
    complained: str
    error: tuple[str, str] | None
    #: Places in the words where a line of the student's belongs, and the questions that fetch it.
    lines: tuple[tuple[str, Question], ...] = ()
    instructions: int = 0
    #: What the student's code printed meanwhile: for the grader's eyes, as it may tell what was asked.
    students: tuple[dict[str, Any], ...] = ()


class Node:
    """A question of a test cell, and what followed each answer."""

    __slots__ = ("after", "outcome", "question")

    def __init__(self) -> None:
        """Begin with nothing known."""
        self.question: str = ""
        self.after: dict[bytes, Node] = {}
        self.outcome: Outcome | None = None


class Memory:
    """All that has been seen of one exercise's tests; with `shared`, by other workers, too."""

    def __init__(self, exercise: str = "", shared: "Shared | None" = None, *, remembers: bool = True):
        """Begin with nothing seen; what does not remember forgets each cell at its end."""
        self.roots: dict[str, Node] = {}
        self.size = 0
        self.exercise, self.shared, self.remembers = exercise, shared, remembers

    def root(self, cell: str) -> Node:
        """Where the questions of a test cell begin."""
        if not self.remembers:
            return Node()
        if self.shared:
            for other, asked, outcome in self.shared.news(self.exercise):
                self._insert(other, asked, outcome)
        if self.size > REMEMBERED:
            self.forget()
        return self.roots.setdefault(cell, Node())

    def learn(self, cell: str, asked: Asked, outcome: Outcome) -> None:
        """Remember how a test cell went, and tell the others."""
        if self.remembers and sum(len(answer) for _, answer in asked) <= ORDINARY:
            self._insert(cell, asked, outcome)
            if self.shared:
                self.shared.tell(self.exercise, cell, asked, outcome)

    def forget(self) -> None:
        """Begin again with nothing seen."""
        self.roots, self.size = {}, 0

    def _insert(self, cell: str, asked: Asked, outcome: Outcome) -> None:
        node = self.roots.setdefault(cell, Node())
        for question, answer in asked:
            node.question = question
            if answer not in node.after:
                node.after[answer] = Node()
                self.size += len(answer) + len(question) + 500
            node = node.after[answer]
        node.outcome = outcome


class Shared:
    """The files of all workers, by their descriptors: they have no name, and vanish with the last worker."""

    def __init__(self, files: list[int], own: int):
        """Write to file number `own`, behind the whole records of a worker that had it before."""
        self.files, self.own = files, own
        self.read = [0] * len(files)
        self.left = SHARED
        self.waiting: dict[str, list[tuple[str, Asked, Outcome]]] = {}
        self._read(own)
        self.end = self.read[own]
        os.ftruncate(files[own], self.end)

    def tell(self, exercise: str, cell: str, asked: Asked, outcome: Outcome) -> None:
        """Append a record. When the disk is full, or enough is told, the others find out for themselves."""
        questions = [(question, answer.decode()) for question, answer in asked]
        data = zlib.compress(json.dumps([exercise, cell, questions, outcome]).encode(), 1)
        self.left -= len(data)
        if self.left < 0:
            return
        record = _LENGTH.pack(len(data)) + data
        try:
            if os.pwrite(self.files[self.own], record, self.end) == len(record):
                self.end += len(record)
            else:
                self.left = 0
        except OSError:
            self.left = 0

    def news(self, exercise: str) -> list[tuple[str, Asked, Outcome]]:
        """What the others have told of an exercise since the last time."""
        for number in range(len(self.files)):
            if number != self.own:
                self._read(number)
        return self.waiting.pop(exercise, [])

    def _read(self, number: int) -> None:
        at = self.read[number]
        with contextlib.suppress(OSError, zlib.error):
            length = os.fstat(self.files[number]).st_size - at
            if length > 0:
                records, done = _records(os.pread(self.files[number], length, at))
                self.read[number] = at + done
                for exercise, cell, asked, outcome in records:
                    self.waiting.setdefault(exercise, []).append((cell, asked, outcome))


def _records(data: bytes) -> tuple[list[tuple[str, str, Asked, Outcome]], int]:
    """The whole records that `data` begins with, and how many bytes they take."""
    found, at = [], 0
    while at + _LENGTH.size <= len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        end = at + _LENGTH.size + length
        if end > len(data):
            break
        exercise, cell, asked, told = json.loads(zlib.decompress(data[at + _LENGTH.size : end]))
        pairs = [(question, answer.encode()) for question, answer in asked]
        found.append((exercise, cell, pairs, _outcome(told)))
        at = end
    return found, at


def _outcome(told: list[Any]) -> Outcome:
    """An outcome as it was before JSON made lists of its tuples."""
    value, printed, complained, error, lines, instructions, students = told
    return Outcome(
        value,
        printed,
        complained,
        (error[0], error[1]) if error else None,
        tuple((token, question) for token, question in lines),
        instructions,
        tuple(students),
    )
