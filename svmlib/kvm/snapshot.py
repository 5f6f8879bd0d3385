"""A machine between two exits, kept and brought back: how the explorer goes on and tells states apart.

Between exits all that a path knows is in vCPU fields and modelled memory, so this is the whole state.  Pages
are shared between snapshots by content: one that nobody wrote is kept once.
"""

from collections.abc import Hashable, Iterable
from types import MappingProxyType
from typing import Any, NamedTuple

from ..memory import PAGE
from ..vmcb import CONTROL
from .machine import Machine, Thread
from .percpu import is_stack

#: What never changes in a processor and in a thread, or is the machine's wiring.
_WIRING = frozenset(
    {"index", "memory", "trace", "features", "options", "symbols", "guest", "on_fault", "on_event", "between"}
)
_FIXED = frozenset({"states", "registers", "vcpu"})
#: What follows from the rest: `turn` says how the guest left its registers, `task` has its own.
_DERIVED = frozenset({"left"})
_ZERO = bytes(PAGE)
#: The bytes of a VMCB from EXITCODE to EXITINTINFO.
_EXIT = slice(CONTROL["EXITCODE"][0], CONTROL["EXITINTINFO"][0] + 8)


class Snapshot(NamedTuple):
    """All that changes in a machine from one exit to the next."""

    #: For each processor: its registers, and the rest by name.
    processors: tuple[tuple[dict[str, int], dict[str, Any]], ...]
    pages: dict[int, bytes]
    #: For each thread: its own attributes, the fields of its vCPU, the CPU that those are accessed on.
    threads: tuple[tuple[dict[str, Any], dict[str, Any], int], ...]
    #: For each CPU: its vCPU's thread by number, and the registers that its host has.
    current: tuple[int | None, ...]
    host: tuple[dict[str, int], ...]
    kept: dict[str, Any]

    @property
    def vmcbs(self) -> list[int]:
        """Where the vCPUs' VMCBs are."""
        return [fields["vmcb_pa"] for _, fields, _ in self.threads]


def snapshot(machine: Machine, before: Snapshot | None = None) -> Snapshot:
    """Keep `machine` as it is; pages that are as they were in `before` are shared with it."""
    shared = before.pages if before else {}
    pages = {}
    for pa, page in machine.memory.pages.items():
        held = shared.get(pa, _ZERO)
        if page != held:
            pages[pa] = bytes(page)
        elif held is not _ZERO:
            pages[pa] = held
    return Snapshot(
        tuple([(p.regs.copy(), _rest(p, _WIRING)) for p in machine.processors]),
        pages,
        tuple([_thread(thread) for thread in machine.threads]),
        tuple([None if t is None else machine.threads.index(t) for t in machine.current]),
        tuple([machine.host_state(n) for n in range(len(machine.processors))]),
        dict(machine.kept),
    )


def _rest(thing: Any, without: frozenset[str]) -> dict[str, Any]:
    return {
        name: value[:] if isinstance(value, list) else value
        for name, value in vars(thing).items()
        if name not in without and name != "regs"
    }


def _thread(thread: Thread) -> tuple[dict[str, Any], dict[str, Any], int]:
    vcpu = thread.vcpu
    return _rest(thread, _FIXED), dict(vcpu._fields), vcpu._processor.index


def restore(machine: Machine, kept: Snapshot) -> None:
    """Make `machine` as it was when `kept` was taken of it; its trace begins anew."""
    for p, (regs, rest) in zip(machine.processors, kept.processors, strict=True):
        p.regs.clear()
        p.regs.update(regs)
        p.__dict__.update(rest)
        p.pending = rest["pending"][:]
    pages, c_bit = machine.memory.pages, machine.memory.c_bit
    for pa in [pa for pa in pages if c_bit and pa not in kept.pages and pa ^ c_bit in kept.pages]:
        pages[pa ^ c_bit] = pages.pop(pa)  # a page is found at the address at which it was last looked at
    for pa, page in pages.items():
        held = kept.pages.get(pa, _ZERO)
        if page != held:
            page[:] = held
    for thread, (rest, fields, cpu) in zip(machine.threads, kept.threads, strict=True):
        thread.__dict__.update(rest)
        object.__setattr__(thread.vcpu, "_fields", dict(fields))
        object.__setattr__(thread.vcpu, "_processor", machine.processors[cpu])
    machine.current = [None if n is None else machine.threads[n] for n in kept.current]
    machine.kept = dict(kept.kept)
    machine.violation = None
    machine.records = []
    trace = machine.trace
    trace.steps = []
    for p, host in zip(machine.processors, kept.host, strict=True):
        trace.start[p.index] = p.regs.copy()
        trace.host[p.index] = [(0, host)]


def key(kept: Snapshot, *, dead: bool = False) -> Hashable:
    """Return what tells `kept` from other states: all of it, but for what nobody reads before it is written.

    That is what lies beyond the tops of the stacks, where every event leaves something, and what the last
    #VMEXIT wrote to EXITCODE and the fields behind it; with `dead` it counts, too.
    """
    pages: Iterable[tuple[int, bytes]] = kept.pages.items()
    if not dead:
        pages = [
            (pa, page[: _EXIT.start] + page[_EXIT.stop :] if pa in kept.vmcbs else page)
            for pa, page in pages
            if not is_stack(pa)
        ]
    return (
        tuple([(tuple(regs.values()), _plain(rest)) for regs, rest in kept.processors]),
        frozenset(pages),
        tuple([(_plain(_without(rest)), _plain(fields), cpu) for rest, fields, cpu in kept.threads]),
        kept.current,
        tuple([tuple(host.values()) for host in kept.host]),
        _plain(kept.kept),
    )


def _without(rest: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in rest.items() if name not in _DERIVED}


def is_dead(kept: Snapshot, pa: int) -> bool:
    """Whether `key` leaves out what lies at physical address `pa`."""
    return is_stack(pa) or any(pa in range(at + _EXIT.start, at + _EXIT.stop) for at in kept.vmcbs)


def _plain(value: Any) -> Any:
    """Return `value` with its lists and dicts as tuples, which can be hashed."""
    kind = type(value)
    if kind is int or value is None:
        return value
    if kind is dict or kind is MappingProxyType:
        return tuple([(name, item if type(item) is int else _plain(item)) for name, item in value.items()])
    if kind is list or (isinstance(value, tuple) and set(map(type, value)) != _NUMBERS):
        return tuple([_plain(item) for item in value])
    # True equals 1, but a path can tell them apart.
    return str(value) if kind is bool else value


_NUMBERS = {int}
