"""64-bit Linux with FRED: no IDT, no SWAPGS; events of user space take their stack from FRED_RSP0.

Delivery from ring 3 and ERETU exchange the two GS bases; from ring 0 GS is believed as it is, and TR is not
looked at.  The stack levels of NMI and #MC have MSRs of their own, which VMRUN switches; the model has none
of them.  Linux writes FRED_RSP0 lazily, on the way to user space, where what it believes to be there differs
(linux-fred, mail-fred-svm).
"""

from typing import TYPE_CHECKING

from ...faults import Fault
from ...instructions import Cpu
from ...instructions.segments import fetch
from ...processor import CR4_FRED, Processor
from ...registers import MSR
from .. import entry
from ..host import THREAD_FS, THREAD_FSBASE, THREAD_GS, THREAD_GSBASE, THREAD_LDT, Host, Task, segment
from ..percpu import ENTRY_STACK_TOP, MC_STACK_TOP, NMI_STACK_TOP, this_cpu_read, this_cpu_write
from .linux import SEGMENTS, USER_CODE, USER_DATA, USER_RFLAGS, USER_RIP, USER_RSP, Linux

if TYPE_CHECKING:
    from ..machine import Machine

#: What FRED pushes: SS, RSP, RFLAGS, CS, RIP, an error code, and two words of event data.
_FRAME = 64
_STACKS = {"NMI": NMI_STACK_TOP, "#MC": MC_STACK_TOP}


class Fred(Linux):
    """64-bit Linux with FRED."""

    name = "fred"
    beyond = ("FRED_RSP0",)
    at_user = (*Linux.at_put, "FRED_RSP0")

    def fields(self, p: Processor, base: int) -> dict[str, int]:
        """Return what this kernel's per-CPU area holds beside the common fields."""
        return super().fields(p, base) | {"fred_rsp0": base + ENTRY_STACK_TOP}

    def registers(self, p: Processor, host: Host, base: int) -> dict[str, int]:
        """Return the registers of a CPU that has booted."""
        registers = super().registers(p, host, base)
        return registers | {"CR4": registers["CR4"] | CR4_FRED, "FRED_RSP0": base + ENTRY_STACK_TOP}

    # -- what arrives

    def nmi(self, machine: "Machine", p: Processor, event: str) -> None:
        """Take an NMI or a machine check: on the stack of its level."""
        self._take(machine, p, event, entry.own_area(machine, p) + _STACKS[event])

    def interrupt(self, machine: "Machine", p: Processor, vector: int) -> None:
        """Take an interrupt: from the kernel on the stack in use, from user space on FRED_RSP0."""
        self._take(machine, p, "INTR", p.regs["FRED_RSP0" if p.regs["CPL"] else "RSP"])

    def _take(self, machine: "Machine", p: Processor, event: str, top: int) -> None:
        words = entry.arrived(machine, event)
        before = {name: p.regs[name] for name in ("RIP", "RSP", "RFLAGS", "CPL")}
        before |= {n: v for n, v in p.regs.items() if n.startswith(("CS.", "SS."))}
        user = before["CPL"] == 3
        self._deliver(machine, p, event, words, top)
        entry.read_own(machine, p, words)
        if user:
            before |= self._swapped(p)
        p.update("ERETU" if user else "ERETS", None, before["RIP"], before)
        p.nmi_masked = p.nmi_masked and event != "NMI"

    def _deliver(self, machine: "Machine", p: Processor, event: str, words: str, top: int) -> None:
        """Go to the handler on the stack at `top`; GS's bases are exchanged on the way from ring 3."""
        start = (top & ~0x3F) - _FRAME
        try:
            pa = p.memory.translate(start, _FRAME, 2)
        except Fault as fault:
            why = f"Triple fault. {words} and found no stack: {fault}."
            raise entry.stopped(machine, p, "host_stack", "FRED_RSP0", why) from None
        entry.check_stack(machine, p, words, top)
        pushed = ("RIP", "CS.selector", "RFLAGS", "RSP", "SS.selector")
        frame = bytes(8) + b"".join(p.regs[name].to_bytes(8, "little") for name in pushed) + bytes(16)
        old = p.memory.write(pa, int.from_bytes(frame, "little"), _FRAME)
        new = {"RSP": start, "CPL": 0, "RFLAGS": p.regs["RFLAGS"] & ~0x300}
        new |= segment("CS", 0x10, *SEGMENTS[0x10]) | segment("SS", 0x18, *SEGMENTS[0x18])
        if p.regs["CPL"] == 3:
            new |= self._swapped(p)
        p.update(event, None, top, new, ((pa, old, frame),))

    def _swapped(self, p: Processor) -> dict[str, int]:
        return {"GS.base": p.regs["KernelGSBase"], "KernelGSBase": p.regs["GS.base"]}

    # -- threads

    def load_segments(self, cpu: Cpu, p: Processor, task: Task) -> None:
        """As Linux does, but GS by LKGS, which loads the selector's base into KernelGSBase at once."""
        cpu.lldt(self.ldt_selector if cpu.load(task.address + THREAD_LDT) else 0)
        cpu.mov_to_sreg("FS", cpu.load(task.address + THREAD_FS, 2))
        selector = cpu.load(task.address + THREAD_GS, 2)
        attrib, limit, base = fetch(p, "LKGS", selector) if selector >= 4 else (0, 0, 0)
        parts = segment("GS", selector, attrib, limit, p.regs["GS.base"])
        p.update("LKGS", None, selector, parts | {"KernelGSBase": base})
        cpu.wrmsr(MSR.FS_BASE, cpu.load(task.address + THREAD_FSBASE))
        cpu.wrmsr(MSR.KERNEL_GS_BASE, cpu.load(task.address + THREAD_GSBASE))

    def enter(self, cpu: Cpu) -> None:
        """Come from user space: delivery has exchanged the bases."""

    def leave(self, cpu: Cpu) -> None:
        """Go to user space: ERETU exchanges the bases."""

    def exit_to_user_mode(self, machine: "Machine", p: Processor) -> None:
        """fred_update_rsp0(): write FRED_RSP0 where the kernel believes something else to be there."""
        super().exit_to_user_mode(machine, p)
        cpu, top = machine.cpus[p.index], entry.own_area(machine, p) + ENTRY_STACK_TOP
        if this_cpu_read(cpu, "fred_rsp0") != top:
            cpu.wrmsr(MSR.FRED_RSP0, top)
            this_cpu_write(cpu, "fred_rsp0", top)

    def sysret(self, p: Processor) -> None:
        """Restore the user's registers and ERETU, in one step."""
        user = segment("CS", USER_CODE, *SEGMENTS[USER_CODE]) | segment("SS", USER_DATA, *SEGMENTS[USER_DATA])
        user |= {"RIP": USER_RIP, "RSP": USER_RSP, "RFLAGS": USER_RFLAGS, "CPL": 3}
        p.update("ERETU", None, USER_RIP, user | self._swapped(p))

    def syscall(self, machine: "Machine", p: Processor, cpu: Cpu) -> None:
        """SYSCALL is an event like others: on FRED_RSP0, whatever LSTAR holds."""
        words = f"SYSCALL came to CPU {p.index}"
        self._deliver(machine, p, "SYSCALL", words, p.regs["FRED_RSP0"])
        self.onto_own_stack(machine, p, cpu)
