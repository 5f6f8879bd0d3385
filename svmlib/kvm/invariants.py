"""What must hold of a host that runs guests, each rule with a name, and what is said when one is broken."""

from typing import TYPE_CHECKING, NamedTuple

from ..data import rows
from ..processor import Processor
from ..registers import REGISTERS

if TYPE_CHECKING:
    from .machine import Machine

#: The rules by name, each a sentence (data/invariants.csv).
INVARIANTS: dict[str, str] = {row["invariant"]: row["sentence"] for row in rows("invariants")}
_SYMPTOMS = {row["register"]: row["symptom"] for row in rows("symptoms")}


class Violation(NamedTuple):
    """A rule of INVARIANTS that a run broke, and where."""

    invariant: str
    #: What somebody notices: user space, an NMI, the next thread.
    symptom: str
    #: The register at fault, what it holds, whose that is, what the host (or guest) had, and who carries it;
    #: "" where no one register is at fault.
    register: str
    value: int
    owner: str
    expected: int
    carrier: str
    #: The last step, and its CPU.
    step: int
    cpu: int

    def __str__(self) -> str:
        """Say the symptom alone; `detail` tells the rest."""
        return self.symptom

    @property
    def detail(self) -> str:
        """Name rule, register, value and owner, carrier and step, from the tables."""
        text = f"Rule {self.invariant}: {INVARIANTS[self.invariant]}"
        if self.register:
            text += (
                f"\n{self.register} of CPU {self.cpu} holds {self.value:#x} ({whose(self.owner)}); "
                f"it had to be {self.expected:#x}.\nCarrier: {_CARRIERS[self.carrier]}"
            )
        return f"{text}\nLast step: {self.step}."


_CARRIERS = {
    "VMRUN": "VMRUN and #VMEXIT move this register themselves.",
    "VMSAVE": "VMRUN and #VMEXIT leave this register alone; VMSAVE stores and VMLOAD loads it, or software.",
    "software": "No SVM instruction moves this register; software has to.",
    "none": "A guest cannot reach this register.",
}


def whose(owner: str) -> str:
    """Say an owner in words."""
    return {
        "guest": "the guest's",
        "host": "the host's",
        "neither": "neither the guest's nor what the host had",
    }.get(owner, owner)


def broken(machine: "Machine", p: Processor, invariant: str, register: str, symptom: str) -> Violation:
    """Describe the violation of `invariant` on `p` whose culprit is `register`, now."""
    expected = machine.host_state(p.index).get(register, 0)
    return describe(machine, p, invariant, register, symptom, expected)


def describe(
    machine: "Machine", p: Processor, invariant: str, register: str, symptom: str, expected: int
) -> Violation:
    """Describe a violation whose `register` had to hold `expected`; both empty where none is at fault."""
    value = p.regs.get(register, 0)
    step = len(machine.trace) - 1
    carrier = REGISTERS[register].carrier if register else "none"
    owner = owner_of(machine, p.index, register, value) if register else ""
    return Violation(invariant, symptom, register, value, owner, expected, carrier, step, p.index)


def owner_of(machine: "Machine", index: int, register: str, value: int) -> str:
    """Say whose `value` of `register` is: "guest", "host", another CPU's, another thread's, or "neither"."""
    if value in machine.trace.guest.get(register, ()):
        return "guest"
    if value == machine.host_state(index).get(register):
        return "host"
    for n in range(len(machine.processors)):
        if n != index and value == machine.host_state(n).get(register):
            return f"CPU {n}'s"
    earlier = [held for _, held in machine.trace.host.get(index, ()) if held.get(register) == value]
    if earlier:
        return "what the host had earlier"
    other = _SWAPPED.get(register, "")
    if value in machine.trace.guest.get(other, ()):
        return f"the guest's {other}"
    return f"the host's {other}" if value == machine.host_state(index).get(other) else "neither"


#: What SWAPGS exchanges.
_SWAPPED = {"GS.base": "KernelGSBase", "KernelGSBase": "GS.base"}


def left_behind(machine: "Machine", p: Processor, register: str) -> Violation:
    """Describe a register that is not the host's when the vCPU is put."""
    symptom = _SYMPTOMS.get(register) or _SYMPTOMS.get(
        register.split(".", maxsplit=1)[0], "The host lost a register."
    )
    return broken(machine, p, "host_state", register, symptom)
