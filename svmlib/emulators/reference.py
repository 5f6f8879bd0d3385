"""The same program on a bare processor of the model, and the bytes that the runtime would leave.

The module is long because it stands beside the runtime, operation by operation.
"""

from collections.abc import Callable, Mapping
from functools import cache
from operator import itemgetter
from struct import Struct
from typing import Any, NamedTuple

from .. import profiles
from ..faults import VECTORS, Fault
from ..instructions import control, events, msr, segments, svm, system, transfers
from ..instructions.intercepts import EXITCODES, Intercepted, intercept
from ..memory import Memory
from ..processor import RFLAGS_IF, Processor
from ..trace import Trace
from ..vmcb import CONTROL
from . import layout as at
from .outcomes import ENTRY, Outcome, fields
from .programs import Operation, Program, room
from .runtime import APIC_VECTOR, EXTRA_FLAGS, FLAGS, INTR_MARK, NMI_MARK

Function = Callable[..., Any]

#: The pseudo-operation whose entry tells of an exception that VMRUN injected.
INJECTED: Operation = ("eventinj",)
_INTR = ("INTR", APIC_VECTOR)
_IRET = EXITCODES["IRET"]
_EXITCODE = CONTROL["EXITCODE"][0]
_TABLES = at.tables()


class Profile(NamedTuple):
    """How the model is to behave: what carries out each operation, the processor's options and features."""

    functions: Mapping[str, Function]
    options: profiles.Switches
    features: profiles.Switches = profiles.cpu("emulated")


def _flat(name: str, selector: int) -> dict[str, int]:
    raw = int.from_bytes(_TABLES[selector & ~7 : (selector & ~7) + 8], "little")
    attrib = raw >> 40 & 0xFF | raw >> 44 & 0xF00
    parts = {"selector": selector, "attrib": attrib, "limit": 0xFFFF_FFFF, "base": 0}
    return {f"{name}.{part}": value for part, value in parts.items()}


#: What the runtime's own way to CPL 3 and back loads.
_RING3 = _flat("CS", at.USER_CODE) | _flat("SS", at.USER_DATA) | {"CPL": 3}
_RING0 = _flat("CS", at.CODE_SELECTOR) | _flat("SS", at.STACK_SELECTOR) | {"CPL": 0}


class Machine(Processor):
    """A processor in the state of layout.REGISTERS_AT_START, and the log of what it executes."""

    def __init__(self, profile: Profile, *, traced: bool = True):
        """Begin as the runtime does; the functions of `profile` carry out the operations.

        Untraced it keeps no steps, which makes it faster.
        """
        super().__init__(0, Memory(at.RAM), Trace(), features=profile.features, options=profile.options)
        self.functions = profile.functions
        self.regs = dict(at.REGISTERS_AT_START)
        self.on_event = _event
        pages = self.memory.pages
        pages[at.TABLES] = bytearray(_TABLES)
        for pa in at.POOL:
            pages[pa] = bytearray(at.FRESH_PAGES[pa])
        self.log = bytearray()
        self.done: list[Operation] = []
        #: Interrupts and NMIs since the last entry, as the entry counts them.
        self.marks = 0
        #: vector + 1, error code and IF of an exception that VMRUN injected and no entry tells of yet.
        self.injected: tuple[int, int, int] | None = None
        #: Whether a handler is about to execute an IRET that is intercepted.
        self.returning = False
        #: Whether the runtime's TR and LSTAR are in place of the program's: on the way to CPL 3 and back.
        self.lent = False
        #: What a profile keeps from one operation for another (deviations.py).
        self.kept: dict[str, Any] = {}
        if not traced:
            self.__dict__.update(record=_nothing, set=self._set, update=self._update)

    def _set(self, event: str, operand: str | int | None, value: int | None, name: str, new: int) -> None:
        self.regs[name] = new

    def _update(
        self, event: str, operand: Any, value: Any, registers: dict[str, int], memory: Any = ()
    ) -> None:
        self.regs.update(registers)

    def execute(self, operation: Operation) -> None:
        """Execute one operation, at its CPL, and log it; Intercepted leaves it unlogged."""
        vector = code = result = 0
        try:
            if operation[0] == "user":
                result = self._at_ring3(*operation[1:])
            else:
                result = self.functions[operation[0]](self, *operation[1:]) or 0
        except Fault as fault:
            vector, code = self.caught(fault)
        if self.shadow:  # the runtime's own instructions follow
            self.shadow = 0
        if self.pending:
            events.arrive(self)
        if self.returning:
            self.handler_exits()
        self.entry(operation, vector, code, result)

    def handler_exits(self) -> None:
        """End the guest's run at the IRET of a handler."""
        self.returning = False
        raise Intercepted(_IRET)

    def entry(self, operation: Operation, vector: int, code: int, result: int) -> None:
        """Log what `operation` came to, with the events that were taken meanwhile."""
        self.log += ENTRY.pack(vector + self.marks, code, result)
        self.marks = 0
        self.done.append(operation)

    def caught(self, fault: Fault) -> tuple[int, int]:
        """Take `fault` as the runtime's handler does, unless the guest's VMCB intercepts it."""
        if self.intercepts:
            events.intercept_fault(self, fault)
        if fault.address is not None:
            self.regs["CR2"] = fault.address
        return VECTORS[fault.vector] + 1, fault.error_code or 0

    def to_ring0(self) -> None:
        """Return from CPL 3, or from where SYSCALL, SYSRET or IRET led."""
        self.regs.update(_RING0)
        self.take_back()

    def _at_ring3(self, name: str, *operands: Any) -> int:
        self.functions["user"](self)
        self.lent = True
        self.functions["iret to ring 3"](self)
        try:
            result: int = self.functions[name](self, *operands) or 0
        except Fault as fault:
            self.caught(fault)
            self.to_ring0()
            raise
        self.to_ring0()
        return result

    def take_back(self) -> None:
        """Have the program's own TR and LSTAR again."""
        self.lent = False
        self.functions["user"](self)

    def state(self) -> bytes:
        """The state as the runtime dumps it."""
        pages = self.memory.pages
        codes, before, after = _words()
        waiting = (_INTR in self.pending) | ("NMI" in self.pending) << 32
        parts: list[bytes | bytearray] = [
            codes.pack(*before(self.regs), self.gif, waiting, *after(self.regs))
        ]
        for pa in at.POOL:
            page = pages[pa]
            parts += [page[start:end] for start, end in at.CONTROL_PARTS]
            parts.append(page[at.SAVE_AREA : at.SAVE_END])
        other = at.TABLES_OTHER - at.TABLES
        tables = pages[at.TABLES]
        parts += [tables[: at.TABLES_BYTES], tables[other : other + at.OTHER_BYTES]]
        return b"".join(parts)


def _nothing(*_: Any) -> None:
    """Keep no step."""


@cache
def _words() -> tuple[Struct, Callable[..., tuple[int, ...]], Callable[..., tuple[int, ...]]]:
    """How the registers in the state are packed, and those before and after GIF and WAITING."""
    places = {name: place for name, place in fields().items() if name[-1] != "]" and "GDT+" not in name}
    codes, end = "<", 0
    for offset, size in places.values():
        codes += "x" * (offset - end) + {2: "H", 4: "I", 8: "Q"}[size]
        end = offset + size
    first = min(offset for offset, _ in fields().values() if offset >= end)
    names = list(places)
    gif = names.index("GIF")
    return (
        Struct(codes + "x" * (first - end)),
        itemgetter(*names[:gif]),
        itemgetter(*names[gif + 2 :]),
    )


def _event(p: Processor, event: Any) -> None:
    """The runtime's handlers: they leave a mark and return, or log the exception that VMRUN injected."""
    assert isinstance(p, Machine)
    kind, vector, *code = ("NMI", 2) if event == "NMI" else event
    if kind == "EXCEPTION" or vector not in (2, APIC_VECTOR):
        p.injected = vector + 1, sum(code), p.regs["RFLAGS"] & RFLAGS_IF
        p.regs["RFLAGS"] &= ~RFLAGS_IF
        return
    p.marks += NMI_MARK if event == "NMI" else INTR_MARK
    if p.intercepts >> _IRET & 1:
        p.regs["RFLAGS"] &= ~RFLAGS_IF
        p.returning = True
    else:
        p.nmi_masked = False


def enter_ring3(p: Machine) -> None:
    """What IRET to CPL 3 does on its way: registers whose DPL is below 3 become null, their base stays."""
    if p.intercepts:
        intercept(p, "IRET")
    regs = p.regs
    for name in ("ES", "DS", "FS", "GS"):
        attrib = regs[f"{name}.attrib"]
        conforming_code = attrib & 0x1C == 0x1C
        if attrib >> 5 & 3 < 3 and not conforming_code:
            regs[f"{name}.selector"] = 0
            regs[f"{name}.attrib"] = 0
    regs.update(_RING3)
    p.nmi_masked = False


def _vmrun(p: Machine, pa: int, guest: Program) -> int:
    def run(_: Processor, rax: int) -> None:
        p.functions["entered"](p)
        try:
            if p.shadow:
                events.after(p, p.shadow)
            if p.returning:
                p.handler_exits()
            if p.injected:
                vector, code, interrupts = p.injected
                p.regs["RFLAGS"] |= interrupts
                if p.pending:
                    events.arrive(p)
                if p.returning:
                    p.handler_exits()
                p.entry(INJECTED, vector, code, 0)
                p.injected = None
            for operation in guest:
                p.execute(operation)
        finally:
            p.functions["leaving"](p)

    p.guest = run
    svm.vmrun(p, pa)
    if p.lent:
        p.take_back()
    p.injected = None  # an event may have ended the guest's run before its handler could log it
    return exitcode(p)


def exitcode(p: Machine) -> int:
    """EXITCODE of the pool's VMCB."""
    page = p.memory.pages[at.VMCB]
    return int.from_bytes(page[_EXITCODE : _EXITCODE + 8], "little")


def _vmcb(p: Machine) -> None:
    p.memory.pages[at.VMCB][:] = at.FRESH_PAGES[at.VMCB]


def _send(event: Any) -> Function:
    def send(p: Machine) -> None:
        if event not in p.pending:
            p.pending.append(event)

    return send


def _in_shadow(name: str) -> Function:
    def both(p: Machine) -> Any:
        system.sti(p)
        return p.functions[name](p)

    return both


def _load_table(store: str, load: Function) -> Function:
    def operation(p: Machine, limit: int, base: int) -> Any:
        p.functions[store](p)
        load(p, limit & 0xFFFF, base)
        return p.functions[store](p)

    return operation


def _store_table(store: Function) -> Function:
    def operation(p: Machine) -> int:
        limit, base = store(p)
        return int(limit << 48 ^ base)

    return operation


def _transfer(function: Function) -> Function:
    """SYSCALL, SYSRET or IRET, and the runtime's way back from where it leads."""

    def operation(p: Machine, *operands: int) -> int:
        regs = p.regs
        flags, ring0 = regs["RFLAGS"], not regs["CPL"]
        if ring0:
            p.functions["user"](p)
            p.lent = True
        try:
            function(p, flags | EXTRA_FLAGS, *operands)
            where = (regs["RFLAGS"] & FLAGS) << 32 | regs["SS.selector"] << 16 | regs["CS.selector"]
        except Fault as fault:
            regs["RFLAGS"] = flags
            if ring0:
                p.caught(fault)
                p.to_ring0()
            raise
        regs["RFLAGS"] = flags
        if ring0:
            p.to_ring0()
        return where

    return operation


def _syscall(p: Machine, flags: int) -> None:
    p.regs["RFLAGS"] = flags
    transfers.syscall(p)


def _sysret(p: Machine, flags: int) -> None:
    p.regs["R11"] = flags
    transfers.sysret(p)


def _iret(p: Machine, flags: int, cs: int, ss: int) -> None:
    if p.intercepts:
        intercept(p, "IRET")
    transfers.return_to(p, 0, cs, flags, 0, ss)
    p.nmi_masked = False


def _nothing_more(p: Machine) -> None:
    """A place for an engine's rule."""


FUNCTIONS: dict[str, Function] = {
    "rdmsr": msr.rdmsr,
    "wrmsr": msr.wrmsr,
    "vmsave": svm.vmsave,
    "vmload": svm.vmload,
    "vmrun": _vmrun,
    "entered": _nothing_more,
    "leaving": _nothing_more,
    "user": _nothing_more,
    "iret to ring 3": enter_ring3,
    "vmmcall": svm.vmmcall,
    "invlpga": svm.invlpga,
    "clgi": svm.clgi,
    "stgi": svm.stgi,
    "cli": system.cli,
    "sti": system.sti,
    "sti_cli": _in_shadow("cli"),
    "sti_clgi": _in_shadow("clgi"),
    "sti_vmmcall": _in_shadow("vmmcall"),
    "swapgs": segments.swapgs,
    "rdfsbase": segments.rdfsbase,
    "rdgsbase": segments.rdgsbase,
    "wrfsbase": segments.wrfsbase,
    "wrgsbase": segments.wrgsbase,
    "mov_from_sreg": segments.mov_from_sreg,
    "mov_to_sreg": segments.mov_to_sreg,
    "mov_from_cr": control.mov_from_cr,
    "mov_to_cr": control.mov_to_cr,
    "mov_from_dr": control.mov_from_dr,
    "mov_to_dr": control.mov_to_dr,
    "mov_from_gpr": lambda p, name: p.regs[name],
    "mov_to_gpr": lambda p, name, value: p.regs.update({name: value}),
    "sldt": segments.sldt,
    "lldt": segments.lldt,
    "str": segments.str_,
    "ltr": segments.ltr,
    "lgdt": _load_table("sgdt", control.lgdt),
    "lidt": _load_table("sidt", control.lidt),
    "sgdt": _store_table(control.sgdt),
    "sidt": _store_table(control.sidt),
    "rdtscp": system.rdtscp,
    "rdpid": system.rdpid,
    "syscall": _transfer(_syscall),
    "sysret": _transfer(_sysret),
    "iret": _transfer(_iret),
    "intr": _send(_INTR),
    "nmi": _send("NMI"),
    "load": system.load,
    "store": system.store,
    "load_gs": system.load_gs,
    "store_gs": system.store_gs,
    "vmcb": _vmcb,
}


DOCUMENTED = Profile(FUNCTIONS, profiles.profile())


def run(program: Program, profile: Profile = DOCUMENTED) -> Outcome:
    """Execute `program` on the model as it behaves in `profile` (deviations.profile)."""
    machine = Machine(profile, traced=False)
    for operation in program:
        machine.execute(operation)
    entries = bytes(machine.log).ljust(ENTRY.size * room(program), b"\0")
    return Outcome(machine.state(), entries, machine.done)
