"""FreeBSD, bhyve's host: as Linux finds its data, but NMI and #MC know their CPU by what lies on their stack.

Above the frame of the interrupt stack lies this CPU's pcpu pointer; the handler writes it into GS.base
whatever was there.  FS, GS and the user's GS base are loaded on the way to user space where PCB_FULL_IRET
says so, which bhyve sets (freebsd-exception).  The SYSENTER MSRs are not used, and the guest gets no TSC_AUX
(bhyve-svm).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ...instructions import Cpu
from ...processor import Processor
from ...registers import MSR
from .. import entry
from ..host import THREAD_FS, THREAD_FSBASE, THREAD_GS, THREAD_GSBASE, Host
from ..percpu import FIELDS, MC_STACK_TOP, NMI_STACK_TOP
from .linux import Linux

if TYPE_CHECKING:
    from ..machine import Machine

UNUSED = frozenset({"SYSENTER_CS", "SYSENTER_ESP", "SYSENTER_EIP"})
_LATE = frozenset({"GS.selector", "GS.attrib", "GS.limit", "KernelGSBase"})
#: From the frame that delivery pushed up to the stack's top.
_FRAME = 40


class FreeBSD(Linux):
    """FreeBSD on amd64."""

    name = "freebsd"
    tsc_aux = False
    cli_first = closed_at_stgi = False
    #: set_pcb_flags() does, before it says PCB_FULL_IRET.
    notes_bases = True
    at_user = tuple(name for name in Linux.at_put if name not in UNUSED)
    at_put = tuple(name for name in at_user if name not in _LATE and not name.startswith("FS."))

    def tables(self, p: Processor, host: Host, base: int) -> None:
        """Write the tables; at the top of the interrupt stacks this CPU's pcpu pointer."""
        super().tables(p, host, base)
        for top in (NMI_STACK_TOP, MC_STACK_TOP):
            p.memory.write(p.memory.translate(base + top), base)

    def paranoid_entry(self, machine: "Machine", p: Processor, cpu: Cpu) -> Callable[[], None]:
        """Keep GS.base, and load it from the stack."""
        before = cpu.rdmsr(MSR.GS_BASE)
        cpu.wrmsr(MSR.GS_BASE, cpu.load(p.regs["RSP"] + _FRAME))
        return lambda: cpu.wrmsr(MSR.GS_BASE, before)

    def save_segments(self, cpu: Cpu, p: Processor, task: int) -> None:
        """Keep nothing: with PCB_FULL_IRET the pcb holds the thread's bases, and registers may not."""

    def exit_to_user_mode(self, machine: "Machine", p: Processor) -> None:
        """Doreti with PCB_FULL_IRET: FS and GS from the pcb, the kernel's GS base kept meanwhile."""
        super().exit_to_user_mode(machine, p)
        cpu = machine.cpus[p.index]
        pcb = p.memory.read(p.memory.translate(entry.own_area(machine, p) + FIELDS["current_task"].offset))
        cpu.mov_to_sreg("FS", cpu.load(pcb + THREAD_FS, 2))
        cpu.wrmsr(MSR.FS_BASE, cpu.load(pcb + THREAD_FSBASE))
        kernel = cpu.rdmsr(MSR.GS_BASE)
        cpu.mov_to_sreg("GS", cpu.load(pcb + THREAD_GS, 2))
        cpu.wrmsr(MSR.GS_BASE, kernel)
        cpu.wrmsr(MSR.KERNEL_GS_BASE, cpu.load(pcb + THREAD_GSBASE))
