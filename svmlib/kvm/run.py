"""Run a path through a list of exits, or through random ones."""

from random import Random
from typing import Any, NamedTuple

from ..trace import Step, Trace
from .exits import Exit, ExitRecord, exits
from .host import Host
from .invariants import Violation
from .machine import Machine

#: A path's functions that save the host.
SAVE = ("vcpu_load", "prepare_switch_to_guest")
#: Exits of which the third is a typical one "kernel"; the second and the fourth make a typical one "user".
TYPICAL = ("user", "kernel", "kernel", "user")


class Run(NamedTuple):
    """What a run left: every step, the exits they belong to, and the rule it broke, if it did."""

    trace: Trace
    exits: list[ExitRecord]
    violation: Violation | None
    host: Host

    def __repr__(self) -> str:
        """Stay short: a notebook shows it below the cell that ran it."""
        ended = f"broke {self.violation.invariant}" if self.violation else "nothing broke"
        return f"<Run: exits {len(self.exits)}, steps {len(self.trace)}, {ended}>"

    def steps(self, exit_: ExitRecord) -> list[Step]:
        """Return the steps of one of `exits`."""
        return self.trace[exit_.first : exit_.last]


def random_exits(seed: int, n: int, host: Host = Host()) -> list[Exit]:
    """Return `n` exits chosen by `seed`: two of three in the kernel, on any vCPU, most moved to any CPU.

    Mistakes with what is kept for a CPU, not for a vCPU, want two vCPUs in their periods at once, each on
    a CPU where the other was.
    """
    random = Random(f"exits {seed}")
    chosen = []
    cpu = [v % host.cpus for v in range(host.vcpus)]
    for _ in range(n):
        vcpu = random.randrange(host.vcpus)
        if random.random() < 0.75:
            cpu[vcpu] = random.randrange(host.cpus)
        kind = "user" if random.random() < 0.35 else "kernel"
        chosen.append(Exit(kind, random.random() < 0.3, cpu[vcpu], vcpu))
    return chosen


def random_host(random: Random, turn: int) -> Host:
    """Return the host of random run number `turn`: FSGSBASE or not in turn, three vCPUs on few CPUs."""
    return Host(random.getrandbits(32), fsgsbase=turn % 2 == 0, cpus=(2, 2, 3, 4)[turn % 4], vcpus=3)


def typical_exits(path: Any, host: Host = Host()) -> dict[str, list[Step]]:
    """Return the steps of an exit "kernel" and of an exit "user" of `path` in its steady state.

    Taken from a run in which the vCPU has been loaded and put before; raises ValueError with the violation's
    symptom where the path does not get that far.
    """
    result = run(path, exits(*TYPICAL), host)
    if result.violation:
        raise ValueError(f"this path has no typical exit: {result.violation.symptom}")
    return typical_steps(result)


def typical_steps(result: Run) -> dict[str, list[Step]]:
    """Return the steps of an exit "kernel" and of an exit "user", from a run through TYPICAL."""
    # An exit to user space costs a period: what loading the vCPU saved, one switch, what putting it restored.
    first_entry, switch, last = result.exits[1], result.exits[2], result.exits[3]
    save = [step for step in result.steps(first_entry) if step.phase in SAVE]
    leave = [step for step in result.steps(last) if step.phase not in SAVE]
    return {"kernel": result.steps(switch), "user": save + leave}


def run(path: Any, exits: list[Exit], host: Host = Host()) -> Run:
    """Run `path` on a freshly booted `host` through `exits`, until they end or a rule is broken.

    Raises PathError where the path lacks a function, ValueError for an exit on a CPU or vCPU that is not
    there; an exception of the path's own code that is no fault of the machine's comes out as it is.
    """
    for exit_ in exits:
        if not isinstance(exit_, Exit):
            raise TypeError(f'{exit_!r} is no exit; write exits("kernel", "user+nmi@1")')
        if not 0 <= exit_.cpu < host.cpus or not 0 <= exit_.vcpu < host.vcpus:
            raise ValueError(
                f"exit {exit_}: the host has CPUs 0 to {host.cpus - 1} and vCPUs 0 to {host.vcpus - 1}"
            )
    machine = Machine(path, host)
    machine.run(exits)
    machine.disconnect()
    return Run(machine.trace, machine.records, machine.violation, host)
