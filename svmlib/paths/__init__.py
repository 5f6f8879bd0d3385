"""The designs on record: each path a module with KVM's function names, nothing to inherit or register.

A path is anything with these functions, each called as f(cpu, vcpu):

- `vcpu_load` (optional), when the vCPU is put on a CPU;
- `prepare_switch_to_guest`, on every entry; the path itself keeps the flag `vcpu.guest_state_loaded`;
- `vcpu_enter_exit`, between CLGI and STGI: guest VMLOAD, VMRUN, guest VMSAVE, and what must be the host's
  before STGI;
- `prepare_host_switch`, when the vCPU is put: the rest.

- `on_user_return` (optional), on each way to user space of a CPU on which one of its vCPUs has run.

Between calls a path keeps state only in vcpu fields and in modelled memory.  A path that swaps registers
beyond VMSAVE's set itself says so in `CARRIES`, a tuple of their names; the run loop then leaves them to it.

PATHS are the four of the thread, DESIGNS all on record (data/designs.csv), each for its kinds of host.
`upstream_6_1` is what Debian's Linux 6.1 does.  It is held against the list of instructions that the real
kernel executes (svmlib.emulators.witness).
"""

from types import ModuleType
from typing import Any, NamedTuple

from ..data import rows
from ..kvm.hosts import HOSTS
from . import (
    bhyve,
    fred,
    hybrid,
    lazy,
    legacy,
    nvmm,
    sev_es,
    upstream,
    upstream_6_1,
    vmload_before_stgi,
    xen_hvm,
    xen_pv,
)

#: The four paths of the thread, by name, in the order of their history.
PATHS: dict[str, ModuleType] = {
    "legacy": legacy,
    "hybrid": hybrid,
    "vmload_before_stgi": vmload_before_stgi,
    "lazy": lazy,
}


class Design(NamedTuple):
    """A design on record."""

    path: Any
    year: int
    #: The kinds of host (kvm.hosts.HOSTS) that it is meant for.
    hosts: tuple[str, ...]
    #: What it does, in half a sentence; and the ids of data/sources.csv, separated by blanks.
    what: str
    source: str


_MODULES = (bhyve, fred, hybrid, lazy, legacy, nvmm, sev_es, upstream, upstream_6_1, vmload_before_stgi,
            xen_hvm, xen_pv)  # fmt: skip


def _design(row: dict[str, str]) -> Design:
    module, _, variant = row["design"].partition(".")
    path: Any = next(m for m in _MODULES if m.__name__.endswith(f".{module}"))
    return Design(
        path=getattr(path, variant) if variant else path,
        year=int(row["year"]),
        hosts=tuple(name for name in HOSTS if _kind(name) in row["hosts"].split()),
        what=row["what"],
        source=row["source"],
    )


def _kind(host: str) -> str:
    """Return the word by which data/designs.csv means a kind of host: its kernel, or "sev_es"."""
    return "sev_es" if HOSTS[host].sev_es else HOSTS[host].kernel


#: Every design on record by its name, a module of this package or a variant in it.
DESIGNS: dict[str, Design] = {row["design"]: _design(row) for row in rows("designs")}
