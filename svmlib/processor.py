"""One logical CPU: its registers, GIF, pending events, and the hidden place where VMRUN puts the host."""

from collections.abc import Callable

from .faults import Fault, Runaway, Shutdown
from .memory import Memory
from .registers import REGISTERS
from .trace import Step, Trace

EFER_LME = 1 << 8
EFER_SVME = 1 << 12
CR0_PE = 1 << 0
CR0_NW = 1 << 29
CR0_CD = 1 << 30
CR0_PG = 1 << 31
CR4_PAE = 1 << 5
CR4_FSGSBASE = 1 << 16
RFLAGS_IF = 1 << 9

#: Instructions that one call of a path's function may execute; the costliest design on record needs about 60.
CALL_LIMIT = 20_000

_new = tuple.__new__


class Processor:
    """A logical CPU.  Instructions (svmlib.instructions) change it; a path sees only the `Cpu` made of it."""

    def __init__(self, index: int, memory: Memory, trace: Trace, *, null_clears_base: bool = True):
        """Make CPU number `index`, all registers zero, GIF set.

        `null_clears_base` is the CPU's NullSelectorClearsBase: loading a null selector into FS or GS clears
        the base (Zen 2 and later; older parts leave base and limit alone).
        """
        self.index = index
        self.memory = memory
        self.trace = trace
        self.null_clears_base = null_clears_base
        self.regs: dict[str, int] = dict.fromkeys(REGISTERS, 0)
        self.gif = 1
        self.side = "host"
        #: Events that wait for GIF: "NMI".
        self.pending: list[str] = []
        #: What VMRUN saved of the host, out of software's sight (bochs-svm; qemu-svm-helper: in memory).
        self.saved_host: tuple[int, ...] | None = None
        #: Why the processor stopped, once it has.
        self.shutdown: Shutdown | None = None
        #: Names for the trace: by linear address, and by offset from GS as -offset - 1.
        self.symbols: dict[int, str] = {}
        #: The guest: called by VMRUN with the VMCB's address, it returns the EXITCODE it leaves with.
        self.guest: Callable[[Processor, int], int] | None = None
        #: The kernel's handlers: of a fault, and of an event that GIF lets in.
        self.on_fault: Callable[[Processor, Fault], Exception] | None = None
        self.on_event: Callable[[Processor, str], None] | None = None

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
        """Record `fault` and let the kernel handle it; return what the faulting code gets to see."""
        self.record(fault.vector, fault.why, fault.error_code)
        return self.on_fault(self, fault) if self.on_fault else fault

    def stop(self, why: str) -> Shutdown:
        """Shut the processor down: it executes nothing any more.  Returns the Shutdown to raise."""
        self.record("shutdown", why)
        self.shutdown = Shutdown(why)
        return self.shutdown

    def __repr__(self) -> str:
        """Write the lines a kernel oops prints of these registers."""
        r = self.regs
        return (
            f"CPU {self.index}  GIF {self.gif}  IF {r['RFLAGS'] >> 9 & 1}  CPL {r['CPL']}  ({self.side})\n"
            f"RIP {r['RIP']:016x} RSP {r['RSP']:016x} RFLAGS {r['RFLAGS']:08x}\n"
            f"FS  {r['FS.base']:016x}({r['FS.selector']:04x}) GS {r['GS.base']:016x}({r['GS.selector']:04x}) "
            f"knlGS {r['KernelGSBase']:016x}\n"
            f"TR  {r['TR.base']:016x}({r['TR.selector']:04x}) "
            f"LDT {r['LDTR.base']:016x}({r['LDTR.selector']:04x})\n"
            f"CR0 {r['CR0']:016x} CR2 {r['CR2']:016x} CR3 {r['CR3']:016x} CR4 {r['CR4']:016x} "
            f"EFER {r['EFER']:016x}"
        )
