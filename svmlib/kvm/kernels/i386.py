"""32-bit Linux: per-CPU data through FS, which every entry loads; no SWAPGS, no interrupt stacks, SYSENTER.

In the kernel FS is a segment of the GDT, __KERNEL_PERCPU, and GS still the user's, as where the kernel has no
stack protector (lazy GS).  What comes from the kernel itself stays on the stack in use; #DF has a task gate.
From memory (linux-i386).
"""

from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING

from ...faults import Fault
from ...instructions import Cpu
from ...instructions.delivery import TSS_RSP0
from ...instructions.segments import descriptor
from ...memory import DIRECT_MAP_32, Memory
from ...processor import CR0_PE, CR0_PG, CR4_PAE, EFER_SVME, Processor
from ...registers import carried_by
from .. import entry, guest
from ..host import LDT_LIMIT, THREAD_FS, THREAD_GS, THREAD_LDT, Host, Task, make_task, segment, write_idt
from ..percpu import ENTRY_STACK_TOP, FIELDS, GDT, IDT, SAVE_AREA, TSS
from ..vmenter import KERNEL_PERCPU, LDT_SELECTOR_32, TSS_SELECTOR_32
from .linux import USER_RFLAGS, Linux

if TYPE_CHECKING:
    from ..machine import Machine

_FLAT = 0xFFFF_FFFF
KERNEL_CODE, KERNEL_DATA, USER_CODE, USER_DATA, TLS = 0x60, 0x68, 0x73, 0x7B, 0x33
SEGMENTS = {
    KERNEL_CODE: (0xC9B, _FLAT, 0),
    KERNEL_DATA: (0xC93, _FLAT, 0),
    USER_CODE: (0xCFB, _FLAT, 0),
    USER_DATA: (0xCF3, _FLAT, 0),
}
#: Offset in a task_struct of its TLS descriptor, thread.tls_array; the number is ours.
THREAD_TLS = 0x40
_TSS_LIMIT, _GDT_LIMIT, _IDT_LIMIT = 0x67, 0xFF, 0x7FF
_USER_RIP, _USER_RSP = 0x804_8000, 0xAFFF_E000
#: Registers of the 64-bit machine alone: neither this kernel nor its guests have them.
WIDE = frozenset({"KernelGSBase", "STAR", "LSTAR", "CSTAR", "SFMASK"})


class I386(Linux):
    """32-bit Linux."""

    name = "i386"
    per_cpu = "FS"
    direct_map = DIRECT_MAP_32
    at_put = tuple(name for name in carried_by("VMSAVE") + carried_by("software") if name not in WIDE)
    #: FS is the user's again by then.
    at_user = tuple(name for name in at_put if not name.startswith("FS."))
    ldt_selector = LDT_SELECTOR_32
    df_task_gate = True

    def fields(self, p: Processor, base: int) -> dict[str, int]:
        """Return what this kernel's per-CPU area holds beside the common fields."""
        return {"tss_desc": base + GDT + TSS_SELECTOR_32, "top_of_stack": base + 0xFF00}

    def tables(self, p: Processor, host: Host, base: int) -> None:
        """Write GDT, TSS and IDT; the descriptors have eight bytes."""
        descriptors = SEGMENTS | {
            TSS_SELECTOR_32: (0x08B, _TSS_LIMIT, base + TSS),
            KERNEL_PERCPU: (0xC93, _FLAT, base),
        }
        for selector, parts in descriptors.items():
            at = p.memory.translate(base + GDT + (selector & ~7))
            p.memory.write(at, descriptor(*parts))
        p.memory.write(p.memory.translate(base + TSS + TSS_RSP0), KERNEL_DATA << 32 | base + ENTRY_STACK_TOP)
        text = self.text(host)
        handlers = {entry.NMI: text["NMI"], entry.MACHINE_CHECK: text["#MC"]}
        handlers |= dict.fromkeys(range(0x20, 0x100), text["INTR"])
        write_idt(p, base, handlers, KERNEL_CODE, {})

    def text(self, host: Host) -> dict[str, int]:
        """Return where the kernel's entries are."""
        every = Random(f"text {host.seed}")
        names = ("NMI", "#MC", "INTR", "SYSENTER", "run")
        return {name: 0xC100_0000 + every.getrandbits(22) for name in names}

    def registers(self, p: Processor, host: Host, base: int) -> dict[str, int]:
        """Return the registers of a CPU that has booted."""
        n, own, text = p.index, Random(f"host {host.seed} CPU {p.index}"), self.text(host)
        registers = {
            "GDTR.base": base + GDT, "GDTR.limit": _GDT_LIMIT, "IDTR.base": base + IDT,
            "IDTR.limit": _IDT_LIMIT, "SYSENTER_CS": KERNEL_CODE, "SYSENTER_ESP": base + 0xE800,
            "SYSENTER_EIP": text["SYSENTER"], "TSC_AUX": n, "XCR0": 7, "PKRU": 0,
            "PAT": 0x0407_0506_0007_0106, "CR0": CR0_PG | CR0_PE | 1 << 16, "CR3": own.getrandbits(20) << 12,
            "CR4": CR4_PAE | 1 << 7, "EFER": EFER_SVME | 1 << 11, "RFLAGS": 0x202, "RIP": text["run"],
            "RSP": base + 0xFF00, "DR6": 0xFFFF_0FF0, "DR7": 0x400, "DEBUGCTL": host.debugctl,
            "VM_HSAVE_PA": p.memory.translate(base + SAVE_AREA),
            **{n: own.getrandbits(32) for n in guest.SWAPPED_BY_KVM if n[0] == "R" and n[1] > "9"},
        }  # fmt: skip
        for name, selector in (
            ("CS", KERNEL_CODE),
            ("SS", KERNEL_DATA),
            ("DS", USER_DATA),
            ("ES", USER_DATA),
        ):
            registers |= segment(name, selector, *SEGMENTS[selector])
        registers |= segment("FS", KERNEL_PERCPU, 0xC93, _FLAT, base)
        return registers | segment("TR", TSS_SELECTOR_32, 0x08B, _TSS_LIMIT, base + TSS)

    def task(self, host: Host, number: int, memory: Memory) -> Task:
        """Make thread `number`, with a TLS segment of its own."""
        random = Random(f"tls {host.seed} {number}")
        tls = (0xCF3, _FLAT, random.getrandbits(19) << 12)
        made = make_task(host, number, memory, {USER_DATA: SEGMENTS[USER_DATA], TLS: tls}, self.ldt_selector)
        memory.write(memory.translate(made.address + THREAD_TLS), descriptor(*tls))
        return made

    def own_base(self, p: Processor) -> tuple[str, int]:
        """Return FS's base: whatever segment it is."""
        return "FS.base", p.regs["FS.base"]

    # -- what arrives

    def exception(self, machine: "Machine", p: Processor, fault: Fault) -> Exception:
        """Take `fault`, raised in kernel code: the entry loads FS, so the handler lives to report it."""
        register, base = self.own_base(p)
        if base == entry.own_area(machine, p):
            return fault
        why = (
            f"Oops. {fault}. {register} was {base:#x}; the handler loads its own from the GDT and says so, "
            "but what was running is lost."
        )
        return entry.stopped(machine, p, "per_cpu", register, why)

    def interrupt(self, machine: "Machine", p: Processor, vector: int) -> None:
        """Take an interrupt from kernel or user space."""
        self._entered(machine, p, "INTR", vector)

    def nmi(self, machine: "Machine", p: Processor, event: str) -> None:
        """Take an NMI or a machine check, as an interrupt: every entry loads FS."""
        self._entered(machine, p, event, entry.NMI if event == "NMI" else entry.MACHINE_CHECK)

    def _entered(self, machine: "Machine", p: Processor, event: str, vector: int) -> None:
        """SAVE_ALL, the handler, RESTORE_REGS: FS's selector is pushed and popped, not its base."""
        cpu = machine.cpus[p.index]
        words = entry.to_handler(machine, p, event, vector)
        before = cpu.mov_from_sreg("FS")
        cpu.mov_to_sreg("FS", KERNEL_PERCPU)
        entry.read_own(machine, p, words)
        self._pop_fs(cpu, before)
        cpu.iret()

    def _pop_fs(self, cpu: Cpu, selector: int) -> None:
        """Load FS; a selector that faults becomes null, by the exception table."""
        with suppress(Fault):
            cpu.mov_to_sreg("FS", selector)
            return
        cpu.mov_to_sreg("FS", 0)

    # -- threads

    def current(self, machine: "Machine", task: Task, p: Processor) -> None:
        """Store `task` as the current one; its TLS and its LDT go into the GDT."""
        base = entry.own_area(machine, p)
        words = {
            base + FIELDS["current_task"].offset: task.address,
            base + GDT + self.ldt_selector: descriptor(0x082, LDT_LIMIT, task.ldt),
            base + GDT + (TLS & ~7): p.memory.read(p.memory.translate(task.address + THREAD_TLS)),
        }
        memory = []
        for linear, word in words.items():
            pa = p.memory.translate(linear)
            memory.append((pa, p.memory.write(pa, word), word.to_bytes(8, "little")))
        p.record("switch_to", memory=tuple(memory))

    def save_segments(self, cpu: Cpu, p: Processor, task: int) -> None:
        """Keep GS, which is the user's; FS was pushed on the way into the kernel."""
        cpu.store(task + THREAD_GS, cpu.mov_from_sreg("GS"), 2)

    def load_segments(self, cpu: Cpu, p: Processor, task: Task) -> None:
        """Load the thread's LDT and GS."""
        cpu.lldt(self.ldt_selector if cpu.load(task.address + THREAD_LDT) else 0)
        cpu.mov_to_sreg("GS", cpu.load(task.address + THREAD_GS, 2))

    def round_trip(self, machine: "Machine", task: Task, p: Processor, *, move: bool) -> Task:
        """SYSEXIT, user code, SYSENTER: back on the stack and at the address that its MSRs hold."""
        cpu = machine.cpus[p.index]
        cpu.cli()
        self.exit_to_user_mode(machine, p)
        machine.to_user(p)
        self._pop_fs(cpu, cpu.load(task.address + THREAD_FS, 2))
        self.sysret(p)
        if p.between:
            p.between(p)
        self.syscall(machine, p, cpu)
        machine.host_has(p)
        cpu.sti()
        return task

    def enter(self, cpu: Cpu) -> None:
        """Come from user space: the entry itself loads FS."""

    def leave(self, cpu: Cpu) -> None:
        """Go to user space: nothing is exchanged."""

    def sysret(self, p: Processor) -> None:
        """Restore the user's registers and SYSEXIT, in one step."""
        user = segment("CS", USER_CODE, *SEGMENTS[USER_CODE])
        user |= segment("SS", USER_DATA, *SEGMENTS[USER_DATA])
        user |= {"RIP": _USER_RIP, "RSP": _USER_RSP, "RFLAGS": USER_RFLAGS, "CPL": 3}
        p.update("SYSEXIT", None, _USER_RIP, user)

    def syscall(self, machine: "Machine", p: Processor, cpu: Cpu) -> None:
        """SYSENTER; then FS, and the kernel's stack."""
        cpu.sysenter()
        expected = machine.host_state(p.index)
        if p.regs["RIP"] != expected["SYSENTER_EIP"]:
            why = f"SYSENTER entered ring 0 at {p.regs['RIP']:#x}, where no code of the kernel's is."
            raise entry.stopped(machine, p, "host_state", "SYSENTER_EIP", why)
        words = f"SYSENTER came to CPU {p.index}"
        entry.check_stack(machine, p, words, p.regs["RSP"])
        cpu.mov_to_sreg("FS", KERNEL_PERCPU)
        self.onto_own_stack(machine, p, cpu)
