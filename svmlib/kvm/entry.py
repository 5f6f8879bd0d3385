"""What every host kernel does when something arrives: the processor's delivery, then a look at its own data.

Delivery needs TR's TSS where the stack changes; the handler needs per-CPU data, so mostly GS.  With a guest's
values in them it ends in a #DF, a triple fault, or a kernel that takes itself for another CPU.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..faults import VECTORS, Fault, Shutdown
from ..instructions import Cpu
from ..instructions.delivery import deliver
from ..processor import Processor
from .invariants import broken, owner_of, whose
from .percpu import STACKS_SIZE, area, this_cpu_read

if TYPE_CHECKING:
    from .machine import Machine

#: Where the interrupt stacks' pointers are in the TSS, for #DF, NMI and #MC (Linux's IST 1, 2 and 4).
DF_IST, NMI_IST, MC_IST = 1, 2, 4
#: Vectors of what arrives; an interrupt has its own.
NMI, DOUBLE_FAULT, MACHINE_CHECK = 2, VECTORS["#DF"], VECTORS["#MC"]

_A = {"NMI": "An NMI", "#MC": "A machine check", "INTR": "An interrupt"}


def own_area(machine: "Machine", p: Processor) -> int:
    """Return the linear address of `p`'s per-CPU area."""
    return area(p.index, machine.host.seed, machine.memory.direct_map)


def arrived(machine: "Machine", event: str) -> str:
    """Say that `event` arrived, and after which step; it has left none yet."""
    return f"{_A[event]} arrived {_when(machine)}"


def _when(machine: "Machine") -> str:
    steps = machine.trace.steps
    if not steps:
        return "before the first step"
    return "at STGI" if steps[-1].event == "STGI" else f"after step {len(steps) - 1}, {steps[-1]}"


def to_handler(machine: "Machine", p: Processor, event: str, vector: int) -> str:
    """Deliver `event`; return the words for its arrival.  Shutdown where it finds no stack of this CPU's."""
    words = arrived(machine, event)
    try:
        top = deliver(p, event, vector)
    except Fault as fault:
        raise stopped(machine, p, "host_stack", "TR.base", _no_stack(machine, p, words, fault)) from None
    check_stack(machine, p, words, top)
    return words


def check_stack(machine: "Machine", p: Processor, words: str, top: int) -> None:
    """Stop the machine unless `top` is on a stack of this CPU's own."""
    if 0 < top - own_area(machine, p) <= STACKS_SIZE:
        return
    register = "TR.base" if p.regs["TR.base"] != machine.host_state(p.index)["TR.base"] else ""
    wrong = "TR was not the host's" if register else "no stack of the kernel's was there to take"
    why = f"{words} and ran on the stack at {top:#x}, not this CPU's: {wrong}."
    raise stopped(machine, p, "host_stack", register, why)


def _no_stack(machine: "Machine", p: Processor, words: str, fault: Fault) -> str:
    """Say what comes of a fault during delivery: a #DF, and a triple fault if that finds no stack either."""
    if machine.kernel.df_task_gate:
        return f"Double fault. {words} and found no stack: {fault}.  The #DF's task has one, and says so."
    try:
        deliver(p, "#DF", DOUBLE_FAULT, 0)
    except Fault:
        return f"Triple fault. {words} and found no stack: {fault}."
    return f"Double fault. {words} and found no stack: {fault}.  The #DF found one, and the kernel stops."


def read_own(machine: "Machine", p: Processor, words: str) -> int:
    """Read this CPU's data as the handler does; return where they lie.

    Shutdown where it dies of it, or takes itself for another CPU.
    """
    try:
        found = this_cpu_read(Cpu(p), "cpu_number")
    except Shutdown:
        was = machine.violation
        if was is not None:
            machine.violation = was._replace(symptom=f"{words}, and its handler died. {was.symptom}")
        raise
    register, base = machine.kernel.own_base(p)
    if register and base != own_area(machine, p):
        # What lies there may even be the right number: nothing but luck.
        why = (
            f"{words}, and its handler on CPU {p.index} took itself for CPU {found:#x}: {register} {base:#x}."
        )
        raise stopped(machine, p, "per_cpu", register, why)
    return own_area(machine, p)


def exception(machine: "Machine", p: Processor, fault: Fault) -> Exception:
    """Take `fault` in kernel code: from the kernel there is no SWAPGS, so the handler runs on GS as it is.

    Returns what the faulting code gets: the Fault where the handler can report it, else Shutdown.
    """
    register, base = machine.kernel.own_base(p)
    if not register or base == own_area(machine, p):
        return fault
    owner = whose(owner_of(machine, p.index, register, base))
    symptom = (
        f"{fault}. {register} was {base:#x} ({owner}), and the handler reads its per-CPU data through it"
    )
    try:
        p.memory.translate(base)
    except Fault:
        symptom = f"Triple fault. {symptom}, faults too, and so does the next."
    else:
        symptom += ": whatever lies there it takes for its own.  (The model stops here.)"
    return stopped(machine, p, "per_cpu", register, symptom)


def paranoid(cpu: Cpu, rdgsbase: Callable[[], int], swap: Callable[[], None]) -> Callable[[], None]:
    """Enter where GS may be anybody's: a base of the upper half counts as the kernel's, else SWAPGS.

    Returns what undoes it.  The form without FSGSBASE of Linux, and NetBSD's (linux-entry-64, netbsd-trap).
    """
    if rdgsbase() >> 63:
        return lambda: None
    swap()
    return swap


def stopped(machine: "Machine", p: Processor, invariant: str, register: str, why: str) -> Shutdown:
    """Stop `p`, and note the rule that was broken; return the Shutdown to raise."""
    stop = p.stop(why)
    machine.violation = machine.violation or broken(machine, p, invariant, register, why)
    return stop
