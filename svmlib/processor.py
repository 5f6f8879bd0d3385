"""One logical CPU: its registers, GIF, pending events, and the hidden place where VMRUN puts the host."""

from collections.abc import Callable
from typing import Any

from . import profiles
from .faults import Fault, Runaway, Shutdown
from .memory import Memory
from .registers import REGISTERS
from .trace import Step, Trace

EFER_SCE = 1 << 0
EFER_LME = 1 << 8
EFER_LMA = 1 << 10
EFER_SVME = 1 << 12
CR0_PE = 1 << 0
#: Reads as one.
CR0_ET = 1 << 4
CR0_NW = 1 << 29
CR0_CD = 1 << 30
CR0_PG = 1 << 31
CR4_TSD = 1 << 2
CR4_PAE = 1 << 5
CR4_LA57 = 1 << 12
CR4_FSGSBASE = 1 << 16
CR4_FRED = 1 << 32
RFLAGS_TF = 1 << 8
RFLAGS_IF = 1 << 9
RFLAGS_RF = 1 << 16
RFLAGS_VM = 1 << 17

#: Instructions that one call of a path's function may execute; the costliest design on record needs about 60.
CALL_LIMIT = 20_000

_new = tuple.__new__


class Processor:
    """A logical CPU.  Instructions (svmlib.instructions) change it; a path sees only the `Cpu` made of it."""

    def __init__(
        self,
        index: int,
        memory: Memory,
        trace: Trace,
        *,
        features: profiles.Switches | None = None,
        options: profiles.Switches | None = None,
    ):
        """Make CPU number `index`, all registers zero, GIF set; long, since each field says what it is.

        `features` are the CPU's (profiles.cpu; a Zen 3 unless said), `options` the profile it behaves by
        (profiles.profile; "documented" unless said).
        """
        self.index = index
        self.memory = memory
        self.trace = trace
        self.features = features or profiles.cpu()
        self.options = options or profiles.profile()
        self.regs: dict[str, int] = dict.fromkeys(REGISTERS, 0)
        self.gif = 1
        #: 1 from an STI or a MOV to SS to the end of the next instruction: no interrupt comes in between.
        self.shadow = 0
        self.side = "host"
        #: Events that wait: "NMI", "SMI", "INIT", "#MC", or ("INTR", vector).
        self.pending: list[Any] = []
        #: Whether an NMI is being handled: the next waits for IRET.
        self.nmi_masked = False
        #: What VMRUN saved of the host, out of software's sight (bochs-svm; qemu-svm-helper: in memory).
        self.saved_host: tuple[int, ...] | None = None
        #: The host's RFLAGS, CR8, and DR6 and DR7 as they were at VMRUN.
        self.host_rflags = self.host_cr8 = 0
        self.host_dr = (0, 0)
        #: The guest's VMCB while it runs, what that VMCB says, and its intercepts: bit n for EXITCODE n.
        self.vmcb_pa: int | None = None
        self.control: Any = None
        self.intercepts = 0
        #: The guest's VMSA, if it is an SEV-ES guest.
        self.vmsa_pa = 0
        #: Why the processor stopped, once it has.
        self.shutdown: Shutdown | None = None
        #: How the kernel on it finds its per-CPU data: by "GS", by "FS", or by the "stack".
        self.per_cpu = "GS"
        #: Names for the trace: by linear address, and by offset from GS (or FS) as -offset - 1.
        self.symbols: dict[int, str] = {}
        #: The guest: called by VMRUN with the VMCB's address, it executes instructions on the processor until
        #: one is intercepted, or returns the EXITCODE it leaves with; None is VMMCALL's.
        self.guest: Callable[[Processor, int], int | None] | None = None
        #: The kernel's handlers: of a fault, and of an event that the machine takes; in a guest, the guest's.
        self.on_fault: Callable[[Processor, Fault], Exception] | None = None
        self.on_event: Callable[[Processor, Any], None] | None = None
        #: Called after each instruction that is issued through a Cpu; for who wants to look, or let an event
        #: come.
        self.between: Callable[[Processor], None] | None = None

    def record(
        self,
        event: str,
        operand: str | int | None = None,
        value: int | None = None,
        names: tuple[str, ...] = (),
        old: tuple[int, ...] = (),
        new: tuple[int, ...] = (),
        memory: tuple[tuple[int, bytes, bytes], ...] = (),
        times: int = 1,
    ) -> None:
        """Append a step; the fields are those of `trace.Step`."""
        trace = self.trace
        steps = trace.steps
        if len(steps) > trace.limit:
            raise Runaway(f"{trace.phase} had executed {CALL_LIMIT} instructions and went on")
        fields = (
            event,
            operand,
            value,
            names,
            old,
            new,
            memory,
            self.index,
            self.gif,
            self.side,
            trace.phase,
            times,
        )
        # Step(*fields) without its Python-level __new__: this line runs for every instruction of every run.
        steps.append(_new(Step, fields))

    def set(self, event: str, operand: str | int | None, value: int | None, name: str, new: int) -> None:
        """Write register `name` and record that `event` did it."""
        regs = self.regs
        old = regs[name]
        regs[name] = new
        self.record(event, operand, value, (name,), (old,), (new,))

    def update(
        self,
        event: str,
        operand: str | int | None,
        value: int | None,
        registers: dict[str, int],
        memory: tuple[tuple[int, bytes, bytes], ...] = (),
    ) -> None:
        """Write several registers and record that `event` did it, and what it wrote to `memory`."""
        names = tuple(registers)
        regs = self.regs
        old = tuple([regs[name] for name in names])
        regs.update(registers)
        self.record(event, operand, value, names, old, tuple(registers.values()), memory)

    def fault(self, fault: Fault) -> Exception:
        """Record `fault` and let the kernel handle it; return what the faulting code gets to see.

        A #PF leaves its address in CR2.
        """
        if fault.address is None:
            self.record(fault.vector, fault.why, fault.error_code)
        else:
            self.set(fault.vector, fault.why, fault.error_code, "CR2", fault.address)
        return self.on_fault(self, fault) if self.on_fault else fault

    def stop(self, why: str) -> Shutdown:
        """Shut the processor down: it executes nothing any more.  Returns the Shutdown to raise."""
        self.record("shutdown", why)
        self.shutdown = Shutdown(why)
        return self.shutdown

    def __repr__(self) -> str:
        """Write the lines a kernel oops prints of these registers."""
        r = self.regs
        general = (("RAX", "RBX", "RCX"), ("RDX", "RSI", "RDI"), ("RBP", "R8", "R9"), ("R10", "R11", "R12"),
                   ("R13", "R14", "R15"))  # fmt: skip
        debug = (("DR0", "DR1", "DR2"), ("DR3", "DR6", "DR7")) if any(r[f"DR{n}"] for n in range(4)) else ()

        def line(names: tuple[str, ...]) -> str:
            return " ".join(f"{name + ':':4} {r[name]:016x}" for name in names)

        def base(name: str) -> str:
            return f"{r[f'{name}.base']:016x}({r[f'{name}.selector']:04x})"

        ds, es, code = r["DS.selector"], r["ES.selector"], r["CS.selector"]
        return "\n".join(
            (
                f"CPU {self.index}  GIF {self.gif}  IF {r['RFLAGS'] >> 9 & 1}  CPL {r['CPL']}  ({self.side})",
                f"RIP: {code:04x}:{r['RIP']:016x}",
                f"RSP: {r['SS.selector']:04x}:{r['RSP']:016x} EFLAGS: {r['RFLAGS']:08x}",
                *map(line, general),
                f"FS:  {base('FS')} GS:{base('GS')} knlGS:{r['KernelGSBase']:016x}",
                f"CS:  {code:04x} DS: {ds:04x} ES: {es:04x} CR0: {r['CR0']:016x}",
                f"CR2: {r['CR2']:016x} CR3: {r['CR3']:016x} CR4: {r['CR4']:016x}",
                f"TR:  {base('TR')} LDT:{base('LDTR')} EFER: {r['EFER']:016x}",
                *map(line, debug),
            )
        )
