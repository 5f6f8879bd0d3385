"""A host as it has booted: registers, memory, threads and guests, before any path runs.

Made once for each kind of host and seed: hosts boot by the hundred while a path is checked, and a grader
meets those of its class's seed again with every submission.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from .. import profiles
from ..memory import DIRECT_MAP, PAGE, Memory
from ..processor import Processor
from ..trace import Trace
from . import guest, kernels, nested
from .host import Host, Task, new_vmcb
from .percpu import symbols

#: How many hosts are kept.
_KNOWN = 512


class Guest(NamedTuple):
    """A vCPU's guest as it is before its first entry, and what KVM holds for it."""

    #: Registers that it has on this host beyond guest.REACH, always with the same value.
    beyond: Mapping[str, int]
    tsc_aux: int
    #: The registers that the run loop may swap for it, as it left them.
    left: Mapping[str, int]
    #: The fields that its vCPU begins with.
    fields: Mapping[str, Any]


class Booted(NamedTuple):
    """What a machine begins with; nothing in it is ever written to."""

    features: profiles.Switches
    #: The registers of each CPU.
    registers: tuple[Mapping[str, int], ...]
    #: Pages by address, without the zeros at their end.
    pages: Mapping[int, bytes]
    #: Names for the trace, by linear address.
    symbols: dict[int, str]
    #: The threads that run vCPUs, and an ordinary one for each CPU.
    tasks: tuple[Task, ...]
    others: tuple[Task, ...]
    guests: tuple[Guest, ...]
    #: Register -> every value that a guest gives it.
    values: dict[str, set[int]]

    def fill(self, memory: Memory) -> None:
        """Put the pages into `memory`."""
        for pa, data in self.pages.items():
            page = memory.pages[pa] = bytearray(PAGE)
            page[: len(data)] = data


@lru_cache(maxsize=_KNOWN)
def boot(host: Host) -> Booted:
    """Boot `host`."""
    kernel = kernels.of(host.kernel)
    memory = Memory(direct_map=kernel.direct_map, sme=host.sme)
    features = profiles.cpu(host.cpu).but(null_clears_base=host.null_clears_base, fred=host.kernel == "fred")
    processors = [Processor(n, memory, Trace(), features=features) for n in range(host.cpus)]
    for p in processors:
        kernel.boot(p, host)
    tasks, guests = [], []
    for number in range(host.vcpus):
        tasks.append(kernel.task(host, number, memory))
        guests.append(_guest(host, number, memory))
    others = tuple(kernel.task(host, host.vcpus + n, memory) for n in range(host.cpus))
    return Booted(
        features,
        tuple(p.regs for p in processors),
        {pa: _known(bytes(page.rstrip(b"\0"))) for pa, page in memory.pages.items()},
        symbols(host.cpus, host.seed, kernel.direct_map, kernel.per_cpu.lower()),
        tuple(tasks),
        others,
        tuple(guests),
        _values(host, guests),
    )


@lru_cache(maxsize=_KNOWN)
def _known(page: bytes) -> bytes:
    """Return an equal page that is kept already, if there is one: the IDTs of a host are alike."""
    return page


def _guest(host: Host, number: int, memory: Memory) -> Guest:
    kernel = kernels.of(host.kernel)
    left = guest.registers(host.seed, number, kernel.direct_map == DIRECT_MAP)[-1]
    beyond = dict.fromkeys(kernel.beyond, 0xFFFF_C900_0000_0000 + 0x1000 * (number + 1))
    tsc_aux = 0x1000 + number
    vmcb_pa = new_vmcb(memory, number, left | {"TSC_AUX": tsc_aux}, host)
    fields = {
        "_features": host.features,
        "vmcb_pa": vmcb_pa,
        **nested.set_up(memory, number, host),
        "cpu": 0,
        "guest_state_loaded": False,
        "sev_es": host.sev_es and number == 0,
        "tsc_aux": tsc_aux,
        "spec_ctrl": left["SPEC_CTRL"],
        "fred_rsp0": beyond.get("FRED_RSP0", 0),
    }
    return Guest(beyond, tsc_aux, left | beyond, fields)


def _values(host: Host, guests: list[Guest]) -> dict[str, set[int]]:
    wide = kernels.of(host.kernel).direct_map == DIRECT_MAP
    found: dict[str, set[int]] = {name: set() for name in guest.REACH}
    for number, one in enumerate(guests):
        second = nested.second_states(host, number) if host.nested else ()
        for state in (*guest.states(host.seed, number, wide), *second):
            for name, value in zip(guest.REACH, state, strict=True):
                found[name].add(value)
        for name, value in ({"TSC_AUX": one.tsc_aux} | dict(one.beyond)).items():
            found.setdefault(name, set()).add(value)
    return found
