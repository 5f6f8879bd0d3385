"""The same program on a bare processor of the model, and the bytes that the runtime would leave."""

from collections.abc import Callable, Mapping
from struct import Struct
from typing import Any, NamedTuple

from .. import profiles
from ..faults import VECTORS, Fault
from ..instructions import msr, segments, svm, system
from ..memory import Memory
from ..processor import Processor
from ..trace import Trace
from ..vmcb import CONTROL
from . import layout as at
from .outcomes import ENTRY, WORDS, Outcome
from .programs import Operation, Program, length

Function = Callable[..., Any]

_VMMCALL = 0x81
_MASK64 = (1 << 64) - 1
_HEAD = Struct(f"<{len(WORDS)}Q HQ6x HQ6x")
_EXITCODE = CONTROL["EXITCODE"][0]
_TABLES = at.tables()
_STATE = tuple(name for name in WORDS if name != "GIF")


class Profile(NamedTuple):
    """How the model is to behave: what carries out each operation, and the processor's options."""

    functions: Mapping[str, Function]
    options: profiles.Switches


class Machine(Processor):
    """A processor in the state of layout.REGISTERS_AT_START, and the log of what it executes."""

    def __init__(self, profile: Profile):
        """Begin as the runtime does; the functions of `profile` carry out the operations."""
        features = profiles.cpu("emulated")
        super().__init__(0, Memory(at.RAM), Trace(), features=features, options=profile.options)
        self.functions = profile.functions
        self.regs = dict(at.REGISTERS_AT_START)
        pages = self.memory.pages
        pages[at.TABLES] = bytearray(_TABLES)
        for pa in at.POOL:
            pages[pa] = bytearray(at.FRESH_PAGES[pa])
        self.log = bytearray()
        self.done: list[Operation] = []
        #: What a profile keeps from one operation for another (deviations.py).
        self.kept: dict[str, Any] = {}

    def execute(self, operation: Operation) -> None:
        """Execute one operation, at its CPL, and log it."""
        name = operation[0]
        try:
            if name == "user":
                _, name, *operands = operation
                self.functions["iret"](self)
                self.functions["user"](self)
                try:
                    result = self.functions[name](self, *operands)
                finally:
                    self.regs["CPL"] = 0
                    self.functions["user"](self)
            else:
                result = self.functions[name](self, *operation[1:])
            self.log += ENTRY.pack(0, 0, result or 0)
        except Fault as fault:
            if fault.address is not None:
                self.regs["CR2"] = fault.address
            self.log += ENTRY.pack(VECTORS[fault.vector] + 1, fault.error_code or 0, 0)
        self.done.append(operation)

    def state(self) -> bytes:
        """The state as the runtime dumps it."""
        regs, pages = self.regs, self.memory.pages
        head = _HEAD.pack(
            *[regs[name] for name in _STATE],
            self.gif,
            regs["GDTR.limit"],
            regs["GDTR.base"],
            regs["IDTR.limit"],
            regs["IDTR.base"],
        )
        scratch = bytearray(0x1000)
        svm.VMSAVE_SET.write(scratch, svm.VMSAVE_SET.values(regs))
        parts: list[bytes | bytearray] = [head, scratch[0x440:0x4A0], scratch[0x600:0x640]]
        for pa in at.POOL:
            page = pages[pa]
            parts += [page[_EXITCODE : _EXITCODE + 8], page[at.SAVE_AREA : at.SAVE_END]]
        parts.append(pages[at.TABLES][: at.TABLES_BYTES])
        return b"".join(parts)


def enter_ring3(p: Machine) -> None:
    """What IRET to CPL 3 does on its way: FS and GS whose DPL is below 3 become null, their base stays."""
    regs = p.regs
    for name in ("FS", "GS"):
        attrib = regs[f"{name}.attrib"]
        conforming_code = attrib & 0x1C == 0x1C
        if attrib >> 5 & 3 < 3 and not conforming_code:
            regs[f"{name}.selector"] = 0
            regs[f"{name}.attrib"] = 0
    regs["CPL"] = 3


def _vmrun(p: Machine, pa: int, guest: Program) -> int:
    def run(_: Processor, rax: int) -> int:
        p.functions["entered"](p)
        for operation in guest:
            p.execute(operation)
        p.functions["leaving"](p)
        return _VMMCALL

    p.guest = run
    svm.vmrun(p, pa)
    return exitcode(p)


def exitcode(p: Machine) -> int:
    """EXITCODE of the pool's VMCB."""
    page = p.memory.pages[at.VMCB]
    return int.from_bytes(page[_EXITCODE : _EXITCODE + 8], "little")


def _vmcb(p: Machine) -> None:
    p.memory.pages[at.VMCB][:] = at.FRESH_PAGES[at.VMCB]


FUNCTIONS: dict[str, Function] = {
    "rdmsr": msr.rdmsr,
    "wrmsr": msr.wrmsr,
    "vmsave": svm.vmsave,
    "vmload": svm.vmload,
    "vmrun": _vmrun,
    "entered": lambda p: None,
    "leaving": lambda p: None,
    "user": lambda p: None,
    "iret": enter_ring3,
    "clgi": svm.clgi,
    "stgi": svm.stgi,
    "cli": system.cli,
    "sti": system.sti,
    "swapgs": segments.swapgs,
    "rdfsbase": segments.rdfsbase,
    "rdgsbase": segments.rdgsbase,
    "wrfsbase": segments.wrfsbase,
    "wrgsbase": segments.wrgsbase,
    "mov_from_sreg": segments.mov_from_sreg,
    "mov_to_sreg": segments.mov_to_sreg,
    "sldt": segments.sldt,
    "lldt": segments.lldt,
    "str": segments.str_,
    "ltr": segments.ltr,
    "load": system.load,
    "store": system.store,
    "load_gs": system.load_gs,
    "store_gs": system.store_gs,
    "vmcb": _vmcb,
}


DOCUMENTED = Profile(FUNCTIONS, profiles.profile())


def run(program: Program, profile: Profile = DOCUMENTED) -> Outcome:
    """Execute `program` on the model as it behaves in `profile` (deviations.profile)."""
    machine = Machine(profile)
    for operation in program:
        machine.execute(operation)
    entries = bytes(machine.log).ljust(ENTRY.size * length(program), b"\0")
    return Outcome(machine.state(), entries, machine.done)
