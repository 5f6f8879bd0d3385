"""What happened: one Step an instruction, and the way back through them.

Instructions append steps; costs price them, views draw them, checks read them.  Nothing here changes a
machine.
"""

import sys
from collections.abc import Iterator
from typing import NamedTuple, overload


class Step(NamedTuple):
    """One instruction or event, and all that it changed."""

    #: The manual's mnemonic ("VMLOAD"), a fault ("#GP"), or an event of the kernel around a path ("NMI").
    event: str
    #: The register's or field's name, or a physical address.
    operand: str | int | None
    #: The number that was read or written, where it is one.
    value: int | None
    #: The registers written, with their old and new values in the same order.
    names: tuple[str, ...]
    old: tuple[int, ...]
    new: tuple[int, ...]
    #: Memory written: (physical address, old bytes, new bytes), from the first byte written to the last.
    memory: tuple[tuple[int, bytes, bytes], ...]
    #: The logical CPU, its GIF after the step, and who executed it: "host" or "guest".
    cpu: int
    gif: int
    side: str
    #: The path's function that was running, or "" for the kernel around it.
    phase: str
    #: How often: a vcpu field that holds a list of n words is loaded and stored n times.
    times: int

    @property
    def changes(self) -> list[tuple[str, int, int]]:
        """The registers that really changed: (name, old value, new value)."""
        columns = zip(self.names, self.old, self.new, strict=True)
        return [(name, old, new) for name, old, new in columns if old != new]

    def __str__(self) -> str:
        """Write the step as a line of assembly would be: event, operand, value."""
        operand = f"{self.operand:#x}" if isinstance(self.operand, int) else self.operand
        value = None if self.value is None else f"{self.value:#x}"
        return " ".join(part for part in (self.event, operand, value) if part)


class Trace:
    """The steps of a run in order, and what each CPU's registers held before the first."""

    def __init__(self) -> None:
        """Begin empty."""
        self.steps: list[Step] = []
        #: CPU number -> its registers before the first step.
        self.start: dict[int, dict[str, int]] = {}
        #: CPU number -> (step from which it holds, registers of the host thread that owns the CPU from
        #: there).
        self.host: dict[int, list[tuple[int, dict[str, int]]]] = {}
        #: Register -> every value a guest gave it.
        self.guest: dict[str, set[int]] = {}
        #: The path's function that is running; new steps carry it.
        self.phase = ""
        #: A path's function may make the trace this long and no longer; the run loop sets it before each
        #: call.
        self.limit = sys.maxsize

    def __len__(self) -> int:
        """Count the steps."""
        return len(self.steps)

    def __iter__(self) -> Iterator[Step]:
        """Walk the steps in order."""
        return iter(self.steps)

    @overload
    def __getitem__(self, key: int) -> Step: ...
    @overload
    def __getitem__(self, key: slice) -> list[Step]: ...
    def __getitem__(self, key: int | slice) -> Step | list[Step]:
        """Return one step, or a list of them for a slice."""
        return self.steps[key]

    def state(self, k: int, cpu: int = 0) -> dict[str, int]:
        """Return the registers of `cpu` after step `k`; -1 is the state before the first step.

        Raises IndexError for a step that is not there.
        """
        if not -1 <= k < len(self.steps):
            raise IndexError(f"no step {k}; the trace has {len(self.steps)}, and -1 is the state before them")
        state = dict(self.start[cpu])
        for step in self.steps[: k + 1]:
            if step.cpu == cpu:
                state.update(zip(step.names, step.new, strict=True))
        return state

    def owner(self, k: int, register: str, value: int, cpu: int = 0) -> str:
        """Say whose `value` of `register` is after step `k`: "host", "guest", or "neither".

        The host's is what the thread that owned the CPU at that step had; a value both sides had counts as
        the host's.
        """
        held = self.start.get(cpu, {})
        for since, registers in self.host.get(cpu, ()):
            if since <= k + 1:
                held = registers
        if held.get(register) == value:
            return "host"
        return "guest" if value in self.guest.get(register, ()) else "neither"
