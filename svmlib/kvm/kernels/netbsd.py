"""NetBSD, NVMM's host: paranoid entry by GS.base's sign for NMIs, none for machine checks.

A machine check takes the entry of every trap: from the kernel no SWAPGS, no stack of its own (netbsd-trap).
Between SWAPGS and user space, and back, that is fatal whatever NVMM does, and the model leaves it out.
Threads of 64-bit programs have null selectors in FS and GS.  The SYSENTER MSRs are not used, and the guest
gets no TSC_AUX (nvmm-svm).
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from ...instructions import Cpu
from ...processor import Processor
from ...registers import MSR
from .. import entry
from ..percpu import STACKS_SIZE
from .freebsd import UNUSED
from .linux import Linux

if TYPE_CHECKING:
    from ..machine import Machine


class NetBSD(Linux):
    """NetBSD on amd64."""

    name = "netbsd"
    tsc_aux = False
    cli_first = closed_at_stgi = False
    at_put = tuple(name for name in Linux.at_put if name not in UNUSED)
    at_user = at_put
    interrupt_stacks: Mapping[int, int] = MappingProxyType(
        {vector: ist for vector, ist in Linux.interrupt_stacks.items() if vector != entry.MACHINE_CHECK}
    )
    thread_segments: Mapping[int, tuple[int, int, int]] = MappingProxyType({})

    def nmi(self, machine: "Machine", p: Processor, event: str) -> None:
        """Take an NMI by its own entry, a machine check as any other trap."""
        if event == "NMI":
            super().nmi(machine, p, event)
            return
        cpu, user = machine.cpus[p.index], p.regs["CPL"] == 3
        own = entry.own_area(machine, p)
        on_own_stack = 0 < p.regs["RSP"] - own <= STACKS_SIZE
        if not user and (p.regs["KernelGSBase"] == own or not on_own_stack):
            return  # at the border to user space, where no path has a part in it
        words = entry.to_handler(machine, p, event, entry.MACHINE_CHECK)
        if user:
            self.enter(cpu)
        entry.read_own(machine, p, words)
        if user:
            self.leave(cpu)
        cpu.iret()

    def paranoid_entry(self, machine: "Machine", p: Processor, cpu: Cpu) -> Callable[[], None]:
        """Look at GS.base's sign, whether FSGSBASE is there or not."""
        return entry.paranoid(cpu, lambda: cpu.rdmsr(MSR.GS_BASE), cpu.swapgs)
