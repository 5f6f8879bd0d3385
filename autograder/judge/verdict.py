"""What comes of a submission: graded, failed or tampered, and each mark with its reason."""

from typing import Any, NamedTuple, Self

#: What a verdict says of a submission. "tampered" is for attempts on the judge; cells that were only changed
#: are restored, and a remark says so.
STATUSES = ("graded", "failed", "tampered")


class Mark(NamedTuple):
    """The points of a graded cell; None: a hand has still to give them."""

    points: float | None
    worth: float
    by_hand: bool = False
    #: Why it is not full: what somebody noticed, the bill against the budget.
    reason: str = ""
    #: nbgrader's automatic comment: "No response." where nothing was written.
    comment: str = ""


class Verdict(NamedTuple):
    """The outcome of one submission."""

    student: str
    exercise: str
    status: str
    #: Why there are no marks, or what was tried on the judge.
    reason: str = ""
    marks: dict[str, Mark] = {}  # noqa: RUF012  # never changed
    #: What was restored, neutrally.
    remarks: tuple[str, ...] = ()
    #: Of the file that was handed in.
    digest: str = ""
    seconds: float = 0
    #: How many instructions of the machine it executed, how many questions it was asked, its peak memory in
    #: kB.
    instructions: int = 0
    questions: int = 0
    peak: int = 0
    #: What the kernel protected from it; nothing of what never ran in a sandbox.
    layers: tuple[str, ...] = ()
    #: Test cells that were answered from memory: their machines had run before for the same answers.
    remembered: int = 0
    #: The notebook as it ran, for the grader's eyes; and the one for the student's, without hidden code.
    notebook: str = ""
    feedback: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The verdict for JSON."""
        return self._asdict() | {"marks": {name: mark._asdict() for name, mark in self.marks.items()}}

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Self:
        """Read what `as_dict` wrote."""
        marks = {name: Mark(**mark) for name, mark in found["marks"].items()}
        tuples = {name: tuple(found.get(name, ())) for name in ("remarks", "layers")}
        return cls(**found | tuples | {"marks": marks})
