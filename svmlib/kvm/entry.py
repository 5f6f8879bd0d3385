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


def nmi(machine: "Machine", p: Processor) -> None:
    """Take an NMI from kernel mode: stack from TR's TSS, GS by paranoid entry, then this CPU's data."""
    try:
        rsp = system.deliver_nmi(p, NMI_IST)
    except Fault as fault:
        raise _stopped(
            machine,
            p,
            "host_stack",
            "TR.base",
            f"Triple fault. An NMI arrived at STGI and found no stack: {fault}.",
        ) from None
    if rsp != area(p.index, machine.host.seed) + NMI_STACK_TOP:
        why = (
            f"An NMI arrived at STGI and ran on the stack at {rsp:#x}, not this CPU's: TR was not the host's."
        )
        raise _stopped(machine, p, "host_stack", "TR.base", why)
    cpu = Cpu(p)
    undo = _paranoid_entry(cpu, p)
    found = _read(machine, p, cpu)
    base = p.regs["GS.base"]
    if base != area(p.index, machine.host.seed):
        why = (
            f"An NMI arrived at STGI, and its handler on CPU {p.index} took itself for CPU {found:#x}: "
            f"GS.base {base:#x}."
        )
        raise _stopped(machine, p, "per_cpu", "GS.base", why)
    undo()
    p.nmi_masked = False
    p.set("IRET", None, None, "RSP", machine.kernel_stack(p.index))


def _read(machine: "Machine", p: Processor, cpu: Cpu) -> int:
    try:
        return this_cpu_read(cpu, "cpu_number")
    except Shutdown:
        was = machine.violation
        if was is not None:
            machine.violation = was._replace(
                symptom=f"An NMI arrived at STGI, and its handler died. {was.symptom}"
            )
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
