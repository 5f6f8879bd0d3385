"""A trace as frames, one a step: the registers after it, whose they are, and the path's bill so far."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ..trace import Step, Trace

_PARTNER = {"GS.base": "KernelGSBase", "KernelGSBase": "GS.base"}
_RFLAGS_IF = 1 << 9


class Frame(NamedTuple):
    """A step and the state after it, on the CPU that made it."""

    k: int
    step: Step
    #: The registers that were asked for, and the owner of each: "host", "guest", "swapped", "neither".
    values: dict[str, int]
    owners: dict[str, str]
    #: Of those, the ones whose value both sides had; they count as the host's.
    both: frozenset[str]
    interrupts: int
    #: Steps of the path so far and what they cost: (low, nominal, high) ticks, or None without prices.
    path_steps: int
    ticks: tuple[float, float, float] | None

    def owners_of(self, names: Iterable[str]) -> list[str]:
        """Return the owners of `names` together, each once; what both sides had goes with the others."""
        telling = [self.owners[name] for name in names if name not in self.both]
        return list(dict.fromkeys(telling)) or ["host"]


class _Cpu:
    """One CPU along the trace: its registers, and what its host thread has."""

    def __init__(self, trace: Trace, index: int):
        self.trace = trace
        self.state = dict(trace.start[index])
        self.hosts = trace.host.get(index) or [(0, trace.start[index])]
        self.at = 0
        #: Whether the thread is in user space, where it may give its own registers new values.
        self.away = False

    def apply(self, k: int, step: Step) -> None:
        self.state.update(zip(step.names, step.new, strict=True))
        self.away = self.away or step.event == "SYSRET"
        while self.at + 1 < len(self.hosts) and self.hosts[self.at + 1][0] <= k + 1:
            self.at += 1
            self.away = False

    def owner(self, name: str) -> str:
        """Say whose register `name` is as Trace.owner does, and tell a swapped GS base from a stray one."""
        value = self.state[name]
        held = self.hosts[self.at : self.at + 1 + self.away]
        if any(registers.get(name) == value for _, registers in held):
            return "host"
        if value in self.trace.guest.get(name, ()):
            return "guest"
        partner = _PARTNER.get(name, "")
        return "swapped" if any(registers.get(partner) == value for _, registers in held) else "neither"


def frames(trace: Trace, names: Sequence[str], prices: Any = None) -> Iterator[Frame]:
    """Walk `trace` once and yield the frame of every step, with the registers `names`.

    `prices` is a price list of svmlib.costs; the bill is of the path's own steps, those with a phase.
    """
    cpus = {index: _Cpu(trace, index) for index in trace.start}
    path_steps, ticks = 0, (0.0, 0.0, 0.0)
    for k, step in enumerate(trace):
        cpu = cpus[step.cpu]
        cpu.apply(k, step)
        if step.phase:
            path_steps += step.times
            if prices is not None:
                ticks = _add(ticks, prices.of(step), step.times)
        values = {name: cpu.state[name] for name in names}
        owners = {name: cpu.owner(name) for name in names}
        both = frozenset(n for n in names if owners[n] == "host" and values[n] in trace.guest.get(n, ()))
        interrupts = int(bool(cpu.state["RFLAGS"] & _RFLAGS_IF))
        yield Frame(k, step, values, owners, both, interrupts, path_steps, None if prices is None else ticks)


def _add(ticks: tuple[float, float, float], price: Any, times: int) -> tuple[float, float, float]:
    low, nominal, high = ticks
    return low + times * price.low, nominal + times * price.nominal, high + times * price.high
