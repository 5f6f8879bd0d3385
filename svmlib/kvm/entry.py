"""How the host kernel takes what arrives: a fault in its own code, an NMI after STGI.

Both need per-CPU data, so both need GS; the NMI needs TR's TSS for its stack.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..faults import Fault, Shutdown
from ..instructions import Cpu, system
from ..processor import CR4_FSGSBASE, Processor
from ..registers import MSR
from .invariants import broken, owner_of, whose
from .percpu import NMI_STACK_TOP, PER_CPU_OFFSET, area, this_cpu_read

if TYPE_CHECKING:
    from .machine import Machine

#: The interrupt stack that Linux gives the NMI (its IDT names IST 2; the model's TSS fills this entry).
NMI_IST = 2
_SIGN = 1 << 63


def exception_entry(machine: "Machine", p: Processor, fault: Fault) -> Exception:
    """Take `fault` in kernel code: from the kernel there is no SWAPGS, so the handler runs on GS as it is.

    Returns what the faulting code gets: the Fault where the handler can report it, else Shutdown.
    """
    base = p.regs["GS.base"]
    if base == area(p.index, machine.host.seed):
        return fault
    owner = whose(owner_of(machine, p.index, "GS.base", base))
    symptom = f"{fault}. GS.base was {base:#x} ({owner}), and the handler reads its per-CPU data through it"
    try:
        p.memory.translate(base)
    except Fault:
        symptom = f"Triple fault. {symptom}, faults too, and so does the next."
    else:
        symptom += ": whatever lies there it takes for its own.  (The model stops here.)"
    stopped = p.stop(symptom)
    machine.violation = machine.violation or broken(machine, p, "per_cpu", "GS.base", symptom)
    return stopped


def nmi(machine: "Machine", p: Processor, event: str = "NMI") -> None:
    """Take an NMI or #MC from kernel mode: stack from TR's TSS, GS by paranoid entry, this CPU's data."""
    arrived = f"{_A[event]} arrived {_when(machine)}"
    try:
        rsp = system.deliver_nmi(p, NMI_IST)
    except Fault as fault:
        raise _stopped(
            machine,
            p,
            "host_stack",
            "TR.base",
            f"Triple fault. {arrived} and found no stack: {fault}.",
        ) from None
    if rsp != area(p.index, machine.host.seed) + NMI_STACK_TOP:
        why = f"{arrived} and ran on the stack at {rsp:#x}, not this CPU's: TR was not the host's."
        raise _stopped(machine, p, "host_stack", "TR.base", why)
    cpu = Cpu(p)
    undo = _paranoid_entry(cpu, p)
    found = _read(machine, p, cpu, arrived)
    base = p.regs["GS.base"]
    if base != area(p.index, machine.host.seed):
        why = (
            f"{arrived}, and its handler on CPU {p.index} took itself for CPU {found:#x}: GS.base {base:#x}."
        )
        raise _stopped(machine, p, "per_cpu", "GS.base", why)
    undo()
    p.nmi_masked = False
    p.set("IRET", None, None, "RSP", machine.kernel_stack(p.index))


def interrupt(machine: "Machine", p: Processor, event: str) -> None:
    """Take an interrupt from kernel mode: on the stack that is in use, on GS as it is; this CPU's data."""
    arrived = f"{_A[event]} arrived {_when(machine)}"
    p.record(event)
    cpu = Cpu(p)
    found = _read(machine, p, cpu, arrived)
    base = p.regs["GS.base"]
    if base != area(p.index, machine.host.seed):
        why = (
            f"{arrived}, and its handler on CPU {p.index} took itself for CPU {found:#x}: GS.base {base:#x}."
        )
        raise _stopped(machine, p, "per_cpu", "GS.base", why)
    p.record("IRET")


_A = {"NMI": "An NMI", "#MC": "A machine check", "INTR": "An interrupt"}


def _when(machine: "Machine") -> str:
    """Say after which step an event arrives that has left none yet."""
    steps = machine.trace.steps
    if not steps:
        return "before the first step"
    return "at STGI" if steps[-1].event == "STGI" else f"after step {len(steps) - 1}, {steps[-1]}"


def _read(machine: "Machine", p: Processor, cpu: Cpu, arrived: str) -> int:
    try:
        return this_cpu_read(cpu, "cpu_number")
    except Shutdown:
        was = machine.violation
        if was is not None:
            machine.violation = was._replace(symptom=f"{arrived}, and its handler died. {was.symptom}")
        raise


def _paranoid_entry(cpu: Cpu, p: Processor) -> Callable[[], None]:
    if p.regs["CR4"] & CR4_FSGSBASE:
        # SAVE_AND_SET_GSBASE: the CPU's number comes from the GDT's limit by LSL, so GS may hold anything.
        before = cpu.rdgsbase()
        cpu.wrgsbase(cpu.load(PER_CPU_OFFSET + 8 * p.index))
        return lambda: cpu.wrgsbase(before)
    if cpu.rdmsr(MSR.GS_BASE) & _SIGN:
        return lambda: None
    cpu.swapgs()
    return cpu.swapgs


def _stopped(machine: "Machine", p: Processor, invariant: str, register: str, why: str) -> Shutdown:
    stopped = p.stop(why)
    machine.violation = machine.violation or broken(machine, p, invariant, register, why)
    return stopped
