"""The host kernel as 64-bit Linux: what it does around a path, and when something arrives."""

from typing import TYPE_CHECKING, Any

from ..faults import Fault
from ..instructions import events
from ..processor import Processor
from . import entry
from .host import Task, load_task
from .percpu import area, this_cpu_read

if TYPE_CHECKING:
    from .machine import Machine, Thread


def exception(machine: "Machine", p: Processor, fault: Fault) -> Exception:
    """Take `fault`, raised in kernel code."""
    return entry.exception_entry(machine, p, fault)


def take(machine: "Machine", p: Processor, event: Any) -> None:
    """Take an event that the machine delivers: NMI, #MC, INTR.  An SMI leaves no trace in the host."""
    kind = events.kind(event)
    if kind in ("NMI", "#MC"):
        entry.nmi(machine, p, kind)
    elif kind == "INTR":
        entry.interrupt(machine, p, kind)


def own_data(machine: "Machine", p: Processor) -> None:
    """Read per-CPU data as the kernel's C code does everywhere."""
    found = this_cpu_read(machine.cpus[p.index], "cpu_number")
    base = p.regs["GS.base"]
    if base != area(p.index, machine.host.seed):
        # What lies there may even be the right number: nothing but luck.
        why = f"The kernel on CPU {p.index} took itself for CPU {found:#x}: it read at GS.base {base:#x}."
        machine.violate("per_cpu", p, "GS.base", why)


def switch_to(machine: "Machine", task: Task, p: Processor) -> None:
    """Make `task` the thread that runs on `p`."""
    load_task(p, task, machine.host.seed)


def user_space(machine: "Machine", thread: "Thread", p: Processor) -> None:
    """Go to user space and come back: SWAPGS, and at times the thread has moved its bases meanwhile."""
    cpu = machine.cpus[p.index]
    cpu.cli()
    cpu.swapgs()
    p.record("SYSRET")
    if thread.turn % 2:
        moved = {name: (p.regs[name] ^ 0x55_5000) & ~0xFFF for name in ("FS.base", "GS.base")}
        p.update("user code", None, None, moved)
        registers = thread.task.registers | {
            "FS.base": moved["FS.base"],
            "KernelGSBase": moved["GS.base"],
        }
        thread.task = thread.task._replace(registers=registers)
    p.record("SYSCALL")
    cpu.swapgs()
    machine.host_has(p)
    cpu.sti()


def other_thread(machine: "Machine", task: Task, p: Processor) -> None:
    """Let an ordinary thread run on `p`: to user space and back."""
    switch_to(machine, task, p)
    machine.host_has(p)
    cpu = machine.cpus[p.index]
    cpu.cli()
    cpu.swapgs()
    p.record("SYSRET")
    p.record("SYSCALL")
    cpu.swapgs()
    cpu.sti()
