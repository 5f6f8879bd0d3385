"""A run that broke a rule, told in words: exits, what arrived at which step, whose registers were whose."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..trace import Trace
from .exits import Exit, ExitRecord
from .invariants import INVARIANTS, Violation, whose
from .run import Run

_KINDS = {
    "kernel": "is handled in the kernel",
    "user": "goes to user space",
    "sched": "ends the time slice, and another thread runs",
    "nested": "enters the guest's own guest, or comes back from it",
    "vmload": "is a VMLOAD of the guest's",
    "vmsave": "is a VMSAVE of the guest's",
    "escape": "is a VMSAVE of the guest's to a page that is the host's",
}
_EVENTS = {
    "NMI": "the NMI",
    "#MC": "the machine check",
    "INTR": "the interrupt",
    "SMI": "the SMI",
    "REBOOT": "the rebooting CPU's interrupt",
}
#: The registers that handlers need, and those that user space and its next system call do.
_NEEDED = ("GS.base", "TR.base", "KernelGSBase", "LSTAR", "FS.base", "LDTR.base", "TSC_AUX")


class Line(NamedTuple):
    """A line of the path's code; `file` is the name of its file, or "its cell" in a notebook."""

    file: str
    number: int
    function: str
    text: str

    def __str__(self) -> str:
        """Write it as Python's tracebacks do."""
        return f"{self.text}   ({self.function}, line {self.number} of {self.file})"


class Story(NamedTuple):
    """How a machine dies: the rule, what happened sentence by sentence, the path's line that ran last."""

    invariant: str
    symptom: str
    sentences: tuple[str, ...]
    line: Line | None

    def __str__(self) -> str:
        """Write it: the symptom first, then how it came to that."""
        last = [f"The path's line that ran last: {self.line}"] if self.line else []
        rule = f"Rule {self.invariant}: {INVARIANTS[self.invariant]}"
        return "\n".join([self.symptom, *(f"  {s}" for s in self.sentences), *last, rule])


def tell(run: Run, exits: Sequence[Exit], line: Line | None = None) -> Story:
    """Tell `run`, which went through `exits` and broke a rule.  ValueError where it broke none."""
    violation = run.violation
    if violation is None:
        raise ValueError("this run broke no rule: there is nothing to tell")
    told = []
    for number, (exit_, record) in enumerate(zip(exits, run.exits, strict=False), 1):
        last = max(record.first, record.last - 1)
        where = f"vCPU {record.vcpu} on CPU {record.cpu}"
        told.append(f"Exit {number}, steps {record.first} to {last}: {where}; it {_KINDS[record.kind]}.")
        told += _arrivals(run.trace, exit_, record)
    told.append(_end(violation))
    return Story(violation.invariant, violation.symptom, tuple(told), line)


def _arrivals(trace: Trace, exit_: Exit, record: ExitRecord) -> Iterator[str]:
    """Say where each event of an exit arrives, and what is not the host's there."""
    for name, at in (*((("NMI", None),) if exit_.nmi else ()), *exit_.arrivals):
        due = record.first + (at or 0)
        if at is None:
            vmruns = [k for k in range(due, record.last) if trace[k].event == "guest"]
            due = vmruns[0] if vmruns else due
        taken = next((k for k in range(due, record.last) if _begins(trace, k, name)), record.last - 1)
        here = f"at step {due}" if taken <= due + 1 else f"at step {due}, waits, and is taken at step {taken}"
        after = f", after {trace[taken - 1]}" if taken else ""
        foreign = _foreign(trace, max(taken - 1, 0), trace[taken].cpu)
        yield f"{_EVENTS[name][0].upper()}{_EVENTS[name][1:]} arrives {here}{after}{foreign}."


def _begins(trace: Trace, k: int, name: str) -> bool:
    """Whether step `k` is where an event named `name` is taken, or the machine dies of it."""
    step = trace[k]
    return step.side == "host" and not step.phase and step.event in (name, "shutdown")


def _foreign(trace: Trace, k: int, cpu: int) -> str:
    """Say which of the registers that somebody needs is the guest's after step `k`."""
    held = trace.state(k, cpu)
    names = [name for name in _NEEDED if trace.owner(k, name, held[name], cpu) == "guest"]
    swapped = held["GS.base"] in trace.guest.get("KernelGSBase", ())
    if swapped:
        return f", while GS.base holds the guest's KernelGSBase, {held['GS.base']:#x}, by SWAPGS"
    if not names:
        return ""
    first, *others = names
    also = f"; so are {', '.join(others)}" if len(others) > 1 else f"; so is {others[0]}" if others else ""
    return f", while {first} still holds the guest's {held[first]:#x}{also}"


def _end(violation: Violation) -> str:
    """Say what was wrong in the end, by the register at fault."""
    if not violation.register:
        return f"At step {violation.step} the rule {violation.invariant} is broken."
    return (
        f"At step {violation.step} {violation.register} of CPU {violation.cpu} holds {violation.value:#x}, "
        f"{whose(violation.owner)}; it had to hold {violation.expected:#x}."
    )
