"""64-bit Linux: per-CPU data through GS, SWAPGS at the border to user space, stacks for NMI and #MC.

The other kernels are told by what they do otherwise.  A long module: one kernel, from boot to SYSRET.
Sources: linux-entry-64, linux-switch-to.
"""

from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ...faults import Fault
from ...instructions import Cpu, events
from ...instructions.delivery import TSS_RSP0
from ...instructions.segments import descriptor
from ...instructions.system import TSS_IST1
from ...memory import DIRECT_MAP, Memory, canonical
from ...processor import CR0_PE, CR0_PG, CR4_FSGSBASE, CR4_PAE, EFER_SVME, Processor
from ...registers import MSR, carried_by
from ...trace import Step
from .. import entry, guest
from ..host import (
    LDT_LIMIT,
    THREAD_FS,
    THREAD_FSBASE,
    THREAD_GS,
    THREAD_GSBASE,
    THREAD_LDT,
    Host,
    Task,
    entry_points,
    make_task,
    segment,
    write_fields,
    write_idt,
)
from ..percpu import (
    DF_STACK_TOP,
    ENTRY_STACK_TOP,
    FIELDS,
    GDT,
    IDT,
    MC_STACK_TOP,
    NMI_STACK_TOP,
    SAVE_AREA,
    TSS,
    area,
    cpu_kernelmode_gs_base,
    this_cpu_read,
)
from ..svm_ops import KVM_REBOOTING, REBOOT_VECTOR
from ..vmenter import LDT_SELECTOR, TSS_SELECTOR, load_gs_index

if TYPE_CHECKING:
    from ..machine import Machine, Thread

_FLAT = 0xFFFF_FFFF
#: The kernel's GDT by selector: (attrib, limit, base); user space's data segments among them.
SEGMENTS = {
    0x10: (0xA9B, _FLAT, 0),
    0x18: (0xC93, _FLAT, 0),
    0x2B: (0xCF3, _FLAT, 0),
    0x33: (0xAFB, _FLAT, 0),
    0x63: (0xCF3, 0xFFFF, 0x0008_1000),
}
USER_DATA, USER_CODE, TLS = 0x2B, 0x33, 0x63
#: The segment whose limit is the CPU's number, for LSL.
CPUNODE = 0x7B
_TSS_LIMIT, _GDT_LIMIT, _IDT_LIMIT = 0x67, 0x7F, 0xFFF
#: Flags that SYSCALL has to clear: TF, IF, DF, IOPL, NT, AC.
_SFMASK = 0x4_7700
#: Where user space runs: its code, its stack, its flags.
USER_RIP, USER_RSP, USER_RFLAGS = 0x40_1000, 0x7FFF_FFFF_E000, 0x202
#: Bits by which a thread moves its bases.
_MOVED = 0x55_5000


class Linux:
    """64-bit Linux; the other kernels inherit what they do alike."""

    name = "linux"
    #: How it finds its per-CPU data: Processor.per_cpu.
    per_cpu = "GS"
    direct_map = DIRECT_MAP
    #: Whether the kernel gives a guest a TSC_AUX of its own, for the path or the run loop to load.
    tsc_aux = True
    #: What is compared when a vCPU is put, and when a thread goes to user space: what VMRUN does not carry.
    at_put: tuple[str, ...] = carried_by("VMSAVE") + carried_by("software")
    at_user: tuple[str, ...] = at_put
    #: Registers beyond guest.REACH that a guest has on this host, with the value each guest gives it.
    beyond: tuple[str, ...] = ()
    #: The vectors that have a stack of their own, with its number in the TSS.
    interrupt_stacks: Mapping[int, int] = MappingProxyType(
        {entry.NMI: entry.NMI_IST, entry.DOUBLE_FAULT: entry.DF_IST, entry.MACHINE_CHECK: entry.MC_IST}
    )
    #: Selectors that threads have in FS and GS, beside null.
    thread_segments: Mapping[int, tuple[int, int, int]] = MappingProxyType(
        {n: SEGMENTS[n] for n in (USER_DATA, TLS)}
    )
    ldt_selector = LDT_SELECTOR
    #: Where the kernel keeps the GS base that user space has active, in its structure and in the kernel.
    active_gs_at, active_gs = THREAD_GSBASE, "KernelGSBase"
    #: Whether the kernel notes the bases whenever a thread comes from user space.
    notes_bases = False
    #: Whether #DF goes through a task gate, with a TSS and a stack of its own.
    df_task_gate = False
    #: Whether it clears IF before CLGI, and whether an interrupt at STGI would come too early.
    cli_first = closed_at_stgi = True

    # -- boot

    def boot(self, p: Processor, host: Host) -> None:
        """Bring a CPU up: descriptor tables, TSS, per-CPU area, SYSCALL and SYSENTER MSRs."""
        base = area(p.index, host.seed, self.direct_map)
        p.per_cpu = self.per_cpu
        p.regs.update(self.registers(p, host, base))
        write_fields(p, host, **self.fields(p, base))
        self.tables(p, host, base)

    def fields(self, p: Processor, base: int) -> dict[str, int]:
        """Return what this kernel's per-CPU area holds beside the common fields."""
        return {"tss_desc": base + GDT + TSS_SELECTOR, "top_of_stack": base + 0xFF00}

    def tables(self, p: Processor, host: Host, base: int) -> None:
        """Write GDT, TSS and IDT."""

        def write(linear: int, value: int) -> None:
            p.memory.write(p.memory.translate(linear), value)

        for selector, parts in SEGMENTS.items():
            write(base + GDT + (selector & ~7), descriptor(*parts))
        write(base + GDT + (CPUNODE & ~7), descriptor(0x4F5, p.index, 0))
        write(base + GDT + TSS_SELECTOR, descriptor(0x08B, _TSS_LIMIT, base + TSS))
        write(base + GDT + TSS_SELECTOR + 8, base + TSS >> 32)
        write(base + TSS + TSS_RSP0, base + ENTRY_STACK_TOP)
        stacks = {entry.DF_IST: DF_STACK_TOP, entry.NMI_IST: NMI_STACK_TOP, entry.MC_IST: MC_STACK_TOP}
        for ist, top in stacks.items():
            write(base + TSS + TSS_IST1 + 8 * (ist - 1), base + top)
        self.gates(p, host, base)

    def gates(self, p: Processor, host: Host, base: int) -> None:
        """Write the IDT: each of `interrupt_stacks` on a stack of its own, the rest on the one in use."""
        handlers = entry_points(host, ("NMI", "#DF", "#MC", "INTR"))
        entries = {entry.NMI: handlers["NMI"], entry.DOUBLE_FAULT: handlers["#DF"]}
        entries |= {entry.MACHINE_CHECK: handlers["#MC"]}
        entries |= dict.fromkeys(range(0x20, 0x100), handlers["INTR"])
        write_idt(p, base, entries, 0x10, self.interrupt_stacks)

    def registers(self, p: Processor, host: Host, base: int) -> dict[str, int]:
        """Return the registers of a CPU that has booted; long, a table."""
        n = p.index
        every, own = Random(f"host {host.seed}"), Random(f"host {host.seed} CPU {n}")
        entries = {name: canonical(1 << 47 | every.getrandbits(47)) for name in ("LSTAR", "CSTAR")}
        cr4 = CR4_PAE | 1 << 7 | (CR4_FSGSBASE if host.fsgsbase else 0)
        registers = {
            "GS.base": base, "GDTR.base": base + GDT, "GDTR.limit": _GDT_LIMIT,
            "IDTR.base": base + IDT, "IDTR.limit": _IDT_LIMIT,
            "STAR": 0x0023_0010 << 32, **entries, "SFMASK": every.getrandbits(22) | _SFMASK,
            "SYSENTER_CS": 0x10, "SYSENTER_ESP": own.getrandbits(32), "SYSENTER_EIP": every.getrandbits(32),
            "TSC_AUX": n, "SPEC_CTRL": 0, "XCR0": 7, "XSS": 0, "PKRU": 0x5555_5554,
            "PAT": 0x0407_0506_0007_0106,
            "CR0": CR0_PG | CR0_PE | 1 << 16, "CR3": own.getrandbits(20) << 12, "CR4": cr4,
            "EFER": EFER_SVME | 0xD01,
            "RFLAGS": 0x202, "RIP": canonical(1 << 47 | every.getrandbits(47)), "RSP": base + 0xFF00,
            "DR6": 0xFFFF_0FF0, "DR7": 0x400, "DEBUGCTL": host.debugctl,
            "VM_HSAVE_PA": p.memory.translate(base + SAVE_AREA),
            **{name: own.getrandbits(64) for name in guest.SWAPPED_BY_KVM if name[0] == "R"},
        }  # fmt: skip
        if host.debug_swap:
            registers |= {f"DR{n}_ADDR_MASK": own.getrandbits(32) for n in range(4)}
        for name, selector in (("CS", 0x10), ("SS", 0x18), ("DS", 0), ("ES", 0)):
            registers |= segment(name, selector, *(SEGMENTS[selector] if selector else (0, 0, 0)))
        return registers | segment("TR", TSS_SELECTOR, 0x08B, _TSS_LIMIT, base + TSS)

    def task(self, host: Host, number: int, memory: Memory) -> Task:
        """Make thread `number`."""
        return make_task(host, number, memory, self.thread_segments, self.ldt_selector)

    # -- its own data

    def own_pa(self, machine: "Machine", p: Processor) -> int:
        """Return the physical address of `p`'s area."""
        return entry.own_area(machine, p) - self.direct_map

    def own_base(self, p: Processor) -> tuple[str, int]:
        """Return the register through which the kernel finds its per-CPU data, and its value; "" for none."""
        return "GS.base", p.regs["GS.base"]

    def own_data(self, machine: "Machine", p: Processor) -> None:
        """Read per-CPU data as the kernel's C code does everywhere."""
        found = this_cpu_read(machine.cpus[p.index], "cpu_number")
        register, base = self.own_base(p)
        if register and base != entry.own_area(machine, p):
            # What lies there may even be the right number: nothing but luck.
            took = f"The kernel on CPU {p.index} took itself for CPU {found:#x}"
            why = f"{took}: it read at {register} {base:#x}."
            machine.violate("per_cpu", p, register, why)

    # -- what arrives

    def exception(self, machine: "Machine", p: Processor, fault: Fault) -> Exception:
        """Take `fault`, raised in kernel code."""
        return entry.exception(machine, p, fault)

    def take(self, machine: "Machine", p: Processor, event: Any) -> None:
        """Take an event that the machine delivers: NMI, #MC, INTR.  An SMI leaves no trace in the host."""
        kind = events.kind(event)
        if kind in ("NMI", "#MC"):
            self.nmi(machine, p, kind)
        elif kind == "INTR":
            self.interrupt(machine, p, event[1])

    def interrupt(self, machine: "Machine", p: Processor, vector: int) -> None:
        """Take an interrupt: SWAPGS if it comes from user space, else GS as it is."""
        cpu, user = machine.cpus[p.index], p.regs["CPL"] == 3
        words = entry.to_handler(machine, p, "INTR", vector)
        if user:
            self.enter(cpu)
        entry.read_own(machine, p, words)
        if vector == REBOOT_VECTOR:
            self.stop_this_cpu(cpu)
        if user:
            self.leave(cpu)
        cpu.iret()

    def stop_this_cpu(self, cpu: Cpu) -> None:
        """Another CPU reboots: no SVM on this one any more, whatever runs on it."""
        cpu.store(self.direct_map + KVM_REBOOTING, 1, 1)
        cpu.wrmsr(MSR.EFER, cpu.rdmsr(MSR.EFER) & ~EFER_SVME)

    def nmi(self, machine: "Machine", p: Processor, event: str) -> None:
        """Take an NMI or a machine check, which may find GS in any state: paranoid entry from the kernel."""
        cpu, user = machine.cpus[p.index], p.regs["CPL"] == 3
        vector = entry.NMI if event == "NMI" else entry.MACHINE_CHECK
        words = entry.to_handler(machine, p, event, vector)
        if user:
            self.enter(cpu)
        undo = partial(self.leave, cpu) if user else self.paranoid_entry(machine, p, cpu)
        entry.read_own(machine, p, words)
        undo()
        cpu.iret()

    def paranoid_entry(self, machine: "Machine", p: Processor, cpu: Cpu) -> Callable[[], None]:
        """Find this CPU's base whatever GS holds, and return what puts GS back as it was."""
        if not p.regs["CR4"] & CR4_FSGSBASE:
            return entry.paranoid(cpu, lambda: cpu.rdmsr(MSR.GS_BASE), cpu.swapgs)
        before = cpu.rdgsbase()
        number = cpu.rdpid() if machine.host.nmi_cpu == "rdpid" else cpu.lsl(CPUNODE)
        if not 0 <= number < len(machine.processors):
            why = f"The NMI's handler on CPU {p.index} asked RDPID which CPU it is: {number:#x}."
            raise entry.stopped(machine, p, "per_cpu", "TSC_AUX", why)
        cpu.wrgsbase(cpu_kernelmode_gs_base(cpu, number))
        return lambda: cpu.wrgsbase(before)

    def enter(self, cpu: Cpu) -> None:
        """Come from user space: the kernel's GS base for the user's."""
        cpu.swapgs()

    def leave(self, cpu: Cpu) -> None:
        """Go to user space: the user's GS base for the kernel's."""
        cpu.swapgs()

    # -- threads

    def switch_to(self, machine: "Machine", task: Task, p: Processor) -> None:
        """Make `task` the thread that runs on `p`: keep the segments of the last one, load its own.

        One step of the trace: nothing in it is KVM's, and GS.base is the kernel's throughout.
        """
        cpu, steps, between = machine.cpus[p.index], machine.trace.steps, p.between
        first, p.between = len(steps), None
        pa = p.memory.translate(entry.own_area(machine, p) + FIELDS["current_task"].offset)
        if before := p.memory.read(pa):
            self.save_segments(cpu, p, before)
        self.current(machine, task, p)
        self.load_segments(cpu, p, task)
        steps[first:] = [merged(steps[first:], "switch_to", machine.named(task))]
        p.between = between

    def switch_out(self, machine: "Machine", task: Task, p: Processor) -> None:
        """Take `task` off `p`, for the idle thread or another: its segments are kept."""
        cpu, steps, between = machine.cpus[p.index], machine.trace.steps, p.between
        first, p.between = len(steps), None
        self.save_segments(cpu, p, task.address)
        pa = p.memory.translate(entry.own_area(machine, p) + FIELDS["current_task"].offset)
        p.record("switch_out", memory=((pa, p.memory.write(pa, 0), bytes(8)),))
        steps[first:] = [merged(steps[first:], "switch_out", machine.named(task))]
        p.between = between

    def current(self, machine: "Machine", task: Task, p: Processor) -> None:
        """Store `task` as the current one, and its LDT's descriptor into the GDT."""
        base = entry.own_area(machine, p)
        at = base + GDT + self.ldt_selector
        words = {
            base + FIELDS["current_task"].offset: task.address,
            at: descriptor(0x082, LDT_LIMIT, task.ldt),
        }
        if self.direct_map == DIRECT_MAP:
            words[at + 8] = task.ldt >> 32
        memory = []
        for linear, word in words.items():
            pa = p.memory.translate(linear)
            memory.append((pa, p.memory.write(pa, word), word.to_bytes(8, "little")))
        p.record("switch_to", memory=tuple(memory))

    def save_segments(self, cpu: Cpu, p: Processor, task: int) -> None:
        """save_fsgs(): selectors, and the bases, which user space may have moved where it has FSGSBASE.

        Elsewhere it moves them by arch_prctl(), and the kernel has noted it then.
        """
        cpu.store(task + THREAD_FS, cpu.mov_from_sreg("FS"), 2)
        cpu.store(task + THREAD_GS, cpu.mov_from_sreg("GS"), 2)
        if p.regs["CR4"] & CR4_FSGSBASE:
            cpu.store(task + THREAD_FSBASE, cpu.rdfsbase())
            cpu.store(task + THREAD_GSBASE, cpu.rdmsr(MSR.KERNEL_GS_BASE))

    def load_segments(self, cpu: Cpu, p: Processor, task: Task) -> None:
        """switch_ldt() and x86_fsgsbase_load(): the LDT, then selectors, then bases, which selectors set."""
        cpu.lldt(self.ldt_selector if cpu.load(task.address + THREAD_LDT) else 0)
        cpu.mov_to_sreg("FS", cpu.load(task.address + THREAD_FS, 2))
        load_gs_index(cpu, cpu.load(task.address + THREAD_GS, 2))
        cpu.wrmsr(MSR.FS_BASE, cpu.load(task.address + THREAD_FSBASE))
        cpu.wrmsr(MSR.KERNEL_GS_BASE, cpu.load(task.address + THREAD_GSBASE))

    def user_space(self, machine: "Machine", thread: "Thread", p: Processor) -> None:
        """Go to user space and come back; at times the thread has moved its bases meanwhile."""
        thread.task = self.round_trip(machine, thread.task, p, move=thread.turn % 2 == 1)

    def other_thread(self, machine: "Machine", task: Task, p: Processor) -> None:
        """Let an ordinary thread run on `p`: to user space and back."""
        self.switch_to(machine, task, p)
        machine.host_has(p)
        self.round_trip(machine, task, p, move=False)

    def round_trip(self, machine: "Machine", task: Task, p: Processor, *, move: bool) -> Task:
        """SYSRET, user code, SYSCALL; return the thread with the registers it then has."""
        cpu = machine.cpus[p.index]
        cpu.cli()
        self.exit_to_user_mode(machine, p)
        machine.to_user(p)
        self.leave(cpu)
        self.sysret(p)
        if p.between:
            p.between(p)
        if move:
            task = self.moved(p, task)
        self.syscall(machine, p, cpu)
        machine.host_has(p)
        cpu.sti()
        return task

    def exit_to_user_mode(self, machine: "Machine", p: Processor) -> None:
        """Do what is left to do on the way to user space, for this CPU: what was told to be called then."""
        machine.on_user_return(p)

    def sysret(self, p: Processor) -> None:
        """Restore the user's registers and SYSRET: one step, since the model has only RIP, RSP and RFLAGS."""
        star = p.regs["STAR"] >> 48
        user = segment("CS", star + 16 | 3, *SEGMENTS[USER_CODE]) | segment(
            "SS", star + 8 | 3, *SEGMENTS[USER_DATA]
        )
        user |= {"RIP": USER_RIP, "RSP": USER_RSP, "RFLAGS": USER_RFLAGS, "CPL": 3}
        p.update("SYSRET", None, USER_RIP, user)

    def moved(self, p: Processor, task: Task) -> Task:
        """User code: the thread moves its FS and GS base, by instruction or else by arch_prctl().

        Then the kernel notes them in the task_struct; else it does not know of it before the next switch.
        """
        bases = {name: (p.regs[name] ^ _MOVED) & ~0xFFF for name in ("FS.base", "GS.base")}
        memory = []
        if self.notes_bases or not p.regs["CR4"] & CR4_FSGSBASE:
            for offset, name in ((THREAD_FSBASE, "FS.base"), (self.active_gs_at, "GS.base")):
                pa = p.memory.translate(task.address + offset)
                memory.append((pa, p.memory.write(pa, bases[name]), bases[name].to_bytes(8, "little")))
        p.update("user code", None, None, bases, tuple(memory))
        registers = {"FS.base": bases["FS.base"], self.active_gs: bases["GS.base"]}
        return task._replace(registers=task.registers | registers)

    def syscall(self, machine: "Machine", p: Processor, cpu: Cpu) -> None:
        """SYSCALL: to LSTAR, on the user's stack; then SWAPGS, and the kernel's stack from per-CPU data."""
        cpu.syscall()
        expected = machine.host_state(p.index)["LSTAR"]
        if p.regs["RIP"] != expected:
            why = f"SYSCALL entered ring 0 at {p.regs['RIP']:#x}, where no code of the kernel's is."
            raise entry.stopped(machine, p, "host_state", "LSTAR", why)
        self.enter(cpu)
        machine.host_has(p)
        self.onto_own_stack(machine, p, cpu)

    def onto_own_stack(self, machine: "Machine", p: Processor, cpu: Cpu) -> None:
        """Take the kernel's stack from per-CPU data, as SYSCALL's entry does."""
        base = entry.read_own(machine, p, f"A system call came to CPU {p.index}")
        top = p.memory.read(p.memory.translate(base + FIELDS["top_of_stack"].offset))
        p.set("MOV r,m", f"{self.per_cpu.lower()}:top_of_stack", top, "RSP", top)


def merged(steps: list[Step], event: str, operand: str) -> Step:
    """Make one step of several: each register from its first old value to its last new one."""
    old: dict[str, int] = {}
    new: dict[str, int] = {}
    memory: list[tuple[int, bytes, bytes]] = []
    for step in steps:
        if step.names:
            for name, before, after in zip(step.names, step.old, step.new, strict=True):
                old.setdefault(name, before)
                new[name] = after
        if step.memory:
            memory += step.memory
    return steps[-1]._replace(
        event=event, operand=operand, value=None, names=tuple(new), old=tuple(old.values()),
        new=tuple(new.values()), memory=tuple(memory), times=1,
    )  # fmt: skip
