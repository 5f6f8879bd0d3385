"""Xen: finds its data by the stack pointer, so any GS will do; with a guest's TR it uses no IST.

A user thread here is a PV guest's vCPU in ring 3, dom0's, which a device model runs in.  Xen has no GS base
of its own and executes no SWAPGS at its border; SYSCALL lands in a piece of code that each CPU has for itself
and that knows its stack.  Each CPU has a host_vmcb, stored by VMSAVE once, when the CPU came up: after STAR
and LSTAR had been written (xen-host-vmcb-order), since every later VMLOAD brings them back (xen-svm).
"""

from random import Random
from typing import TYPE_CHECKING

from ...instructions import Cpu
from ...instructions.svm import VMSAVE_SET
from ...memory import Memory, canonical
from ...processor import CR4_FSGSBASE, Processor
from ...registers import MSR
from .. import entry
from ..host import THREAD_FS, THREAD_FSBASE, THREAD_GS, THREAD_GSBASE, THREAD_LDT, Host, Task
from ..percpu import HOST_VMCB, IDT
from .linux import Linux

if TYPE_CHECKING:
    from ..machine import Machine

#: Offsets in a vCPU's structure: the active GS base, and its TSC_AUX; the numbers are ours.
VCPU_GS_ACTIVE, VCPU_TSC_AUX = 0x38, 0x48
#: What the CPU's bring-up wrote last.
_PROGRAMMED_LATE = ("STAR", "LSTAR", "CSTAR", "SFMASK")


class Xen(Linux):
    """Xen with PV and HVM guests."""

    name = "xen"
    per_cpu = "stack"
    closed_at_stgi = False
    #: save_segments() does, on the switch from the PV vCPU to the HVM one.
    notes_bases = True
    active_gs_at, active_gs = VCPU_GS_ACTIVE, "GS.base"

    def fields(self, p: Processor, base: int) -> dict[str, int]:
        """Return what this kernel's per-CPU area holds beside the common fields."""
        return super().fields(p, base) | {
            "host_vmcb": p.memory.translate(base + HOST_VMCB),
            "idt": base + IDT,
        }

    def registers(self, p: Processor, host: Host, base: int) -> dict[str, int]:
        """Return the registers of a CPU that has booted: no GS base, an LSTAR of its own."""
        stub = canonical(1 << 47 | Random(f"stub {host.seed} {p.index}").getrandbits(47))
        return super().registers(p, host, base) | {"GS.base": 0, "LSTAR": stub}

    def tables(self, p: Processor, host: Host, base: int) -> None:
        """Write the tables, then the host_vmcb, as VMSAVE does: as it is when the CPU comes up.

        With B24 that was before STAR and LSTAR were programmed.
        """
        super().tables(p, host, base)
        held = p.regs | (dict.fromkeys(_PROGRAMMED_LATE, 0) if "B24" in host.bugs else {})
        page = p.memory.page(p.memory.translate(base + HOST_VMCB))
        VMSAVE_SET.write(page, VMSAVE_SET.values(held))

    def task(self, host: Host, number: int, memory: Memory) -> Task:
        """Make a PV vCPU, with an active GS base and a TSC_AUX beside what every thread has."""
        made = super().task(host, number, memory)
        random = Random(f"PV {host.seed} {number}")
        active, tsc_aux = random.getrandbits(46) & ~0xFFF, random.getrandbits(12)
        memory.write(memory.translate(made.address + VCPU_GS_ACTIVE), active)
        memory.write(memory.translate(made.address + VCPU_TSC_AUX), tsc_aux)
        return made._replace(registers=made.registers | {"GS.base": active, "TSC_AUX": tsc_aux})

    def own_base(self, p: Processor) -> tuple[str, int]:
        """Return no register: the stack pointer is VMRUN's to bring back."""
        return "", 0

    def nmi(self, machine: "Machine", p: Processor, event: str) -> None:
        """Take an NMI or a machine check: no GS is needed, only a stack."""
        vector = entry.NMI if event == "NMI" else entry.MACHINE_CHECK
        words = entry.to_handler(machine, p, event, vector)
        entry.read_own(machine, p, words)
        machine.cpus[p.index].iret()

    def enter(self, cpu: Cpu) -> None:
        """Come from ring 3: nothing is exchanged."""

    def leave(self, cpu: Cpu) -> None:
        """Go to ring 3: nothing is exchanged."""

    def save_segments(self, cpu: Cpu, p: Processor, task: int) -> None:
        """save_segments(): selectors, and the three bases where the guest may have moved them itself."""
        super().save_segments(cpu, p, task)
        if p.regs["CR4"] & CR4_FSGSBASE:
            cpu.store(task + VCPU_GS_ACTIVE, cpu.rdgsbase())

    def load_segments(self, cpu: Cpu, p: Processor, task: Task) -> None:
        """load_segments() and the TSC_AUX of the vCPU that comes."""
        load_segments(cpu, task.address, self.ldt_selector)

    def onto_own_stack(self, machine: "Machine", p: Processor, cpu: Cpu) -> None:
        """Take the stack that this CPU's piece of code holds as a number."""
        top = entry.own_area(machine, p) + 0xFF00
        p.set("MOV r,m", "stack_bottom", top, "RSP", top)
        entry.read_own(machine, p, f"SYSCALL came to CPU {p.index}")


def load_segments(cpu: Cpu, vcpu: int, ldt_selector: int) -> None:
    """load_segments() of the PV vCPU at `vcpu`: LDT, selectors, then WRMSR for each of the three bases."""
    cpu.lldt(ldt_selector if cpu.load(vcpu + THREAD_LDT) else 0)
    cpu.mov_to_sreg("FS", cpu.load(vcpu + THREAD_FS, 2))
    cpu.mov_to_sreg("GS", cpu.load(vcpu + THREAD_GS, 2))
    cpu.wrmsr(MSR.FS_BASE, cpu.load(vcpu + THREAD_FSBASE))
    cpu.wrmsr(MSR.GS_BASE, cpu.load(vcpu + VCPU_GS_ACTIVE))
    cpu.wrmsr(MSR.KERNEL_GS_BASE, cpu.load(vcpu + THREAD_GSBASE))
    cpu.wrmsr(MSR.TSC_AUX, cpu.load(vcpu + VCPU_TSC_AUX))
