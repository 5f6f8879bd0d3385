"""The kinds of host by name: which kernel on which CPU, and how that kernel does what paths depend on."""

from typing import Any, NamedTuple

from .. import profiles
from ..data import rows
from .host import Host


class Kernel(NamedTuple):
    """What a kernel states of itself, a sentence each (data/kernels.csv)."""

    #: How it finds its per-CPU data.
    per_cpu: str
    #: How it takes an NMI or a machine check, and an interrupt, from the kernel and from user space.
    nmi: str
    interrupt: str
    #: How it goes to user space and comes back.
    user: str
    #: Ids of data/sources.csv, separated by blanks.
    source: str


def _host(row: dict[str, str]) -> Host:
    clears = profiles.cpu(row["cpu"]).null_clears_base
    return Host(
        fsgsbase=row["fsgsbase"] == "1",
        null_clears_base=clears,
        kernel=row["kernel"],
        cpu=row["cpu"],
        sev_es=row["sev_es"] == "1",
    )


#: Every kind of host by its name (data/hosts.csv), with seed 0, two CPUs and two vCPUs.
HOSTS: dict[str, Host] = {row["host"]: _host(row) for row in rows("hosts")}
#: What each kind is, a sentence.
MEANING: dict[str, str] = {row["host"]: row["meaning"] for row in rows("hosts")}
#: What each kernel states of itself.
KERNELS: dict[str, Kernel] = {
    row["kernel"]: Kernel(*(row[column] for column in Kernel._fields)) for row in rows("kernels")
}


def host(name: str, **fields: Any) -> Host:
    """Return the kind of host `name`, with some fields otherwise: host("i386", seed=3).

    A CPU's name alone, "zen2", is the one with FSGSBASE in use.  KeyError lists those there are.
    """
    found = HOSTS.get(name) or HOSTS.get(f"{name}+fsgsbase")
    if found is None:
        raise KeyError(f"no kind of host {name!r}; there are {', '.join(HOSTS)}")
    return found._replace(**fields)


def name_of(kind: Host) -> str:
    """Return the name of the kind that `kind` is, whatever its seed and its size; "" where it has none."""
    for name, known in HOSTS.items():
        if kind._replace(seed=0, cpus=2, vcpus=2) == known:
            return name
    return ""
