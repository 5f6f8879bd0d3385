"""A program: operations as data, a tuple each: a name and its operands, ready for JSON.

("wrmsr", 0xC0000082, 1 << 47)    operands are numbers; segment registers and RBP have their names
("mov_to_cr", 8, 4)               control and debug registers have their numbers
("user", "swapgs")                the operation that follows, at CPL 3
("vmrun", VMCB, [operations])     the guest runs the operations, then VMMCALL
("sti_clgi",)                     STI and, in its shadow, CLGI
("iret", 0x1B, 0x23)              to the code segment and with the stack segment named
("intr",) ("nmi",)                the CPU sends itself interrupt 0x40, or an NMI
("vmcb",)                         not an instruction: the VMCB page as it was at the start

SYSCALL, SYSRET and IRET lead to code of the runtime's: their result is CS, SS << 16 and RFLAGS << 32 as they
were there, and the program goes on at its own CPL, with its own RFLAGS.
"""

from collections.abc import Iterator, Sequence
from typing import Any

Operation = Sequence[Any]
Program = Sequence[Operation]

#: Operation -> what its operands are.
OPERANDS: dict[str, tuple[str, ...]] = {
    "rdmsr": ("msr",),
    "wrmsr": ("msr", "value"),
    "vmsave": ("page",),
    "vmload": ("page",),
    "vmrun": ("page", "guest"),
    "vmmcall": (),
    "invlpga": ("address", "asid"),
    "clgi": (),
    "stgi": (),
    "cli": (),
    "sti": (),
    "sti_cli": (),
    "sti_clgi": (),
    "sti_vmmcall": (),
    "swapgs": (),
    "rdfsbase": (),
    "rdgsbase": (),
    "wrfsbase": ("value",),
    "wrgsbase": ("value",),
    "mov_from_sreg": ("segment",),
    "mov_to_sreg": ("loaded segment", "selector"),
    "mov_from_cr": ("control register",),
    "mov_to_cr": ("control register", "value"),
    "mov_from_dr": ("debug register",),
    "mov_to_dr": ("debug register", "value"),
    "mov_from_gpr": ("general register",),
    "mov_to_gpr": ("general register", "value"),
    "sldt": (),
    "lldt": ("selector",),
    "str": (),
    "ltr": ("selector",),
    "lgdt": ("limit", "base"),
    "lidt": ("limit", "base"),
    "sgdt": (),
    "sidt": (),
    "rdtscp": (),
    "rdpid": (),
    "syscall": (),
    "sysret": (),
    "iret": ("code segment", "stack segment"),
    "intr": (),
    "nmi": (),
    "load": ("address", "size"),
    "store": ("address", "value", "size"),
    "load_gs": ("address", "size"),
    "store_gs": ("address", "value", "size"),
    "vmcb": (),
}
#: Operations that are the runtime's work, which only ring 0 can do.
RING0 = ("vmcb", "intr", "nmi")
#: Operations that a guest does not have.
HOST = ("vmrun", "vmcb")

#: Kind of operand -> those there are, where it is not any number of 64 bits.
CHOICES: dict[str, tuple[Any, ...]] = {
    "segment": ("CS", "SS", "DS", "ES", "FS", "GS"),
    "loaded segment": ("SS", "DS", "ES", "FS", "GS"),
    "control register": (0, 2, 3, 4, 8),
    "debug register": (0, 1, 2, 3, 6, 7),
    "general register": ("RBP",),
    "size": (1, 2, 4, 8),
}


class ProgramError(ValueError):
    """A program that is none: the message names the operation."""


def check(program: Program, *, guest: bool = False) -> None:
    """Raise ProgramError unless every operation is one, with the operands that it takes."""
    for operation in program:
        if not isinstance(operation, list | tuple) or not operation or operation == ("user",):
            raise ProgramError(f"{operation!r} is no operation: it is a name and its operands, in a tuple")
        name, operands = plain(operation)
        user = operation[0] == "user"
        if name not in OPERANDS or (guest and name in HOST) or (user and name in RING0):
            known = ", ".join(OPERANDS)
            where = "a guest's operation" if guest else "an operation at CPL 3" if user else "an operation"
            raise ProgramError(f"{name!r} is not {where} here; there are {known}")
        if len(operands) != len(OPERANDS[name]):
            raise ProgramError(f"{name} takes {', '.join(OPERANDS[name]) or 'no operands'}: {operation!r}")
        for kind, operand in zip(OPERANDS[name], operands, strict=True):
            _check_operand(name, kind, operand)


def _check_operand(name: str, kind: str, operand: Any) -> None:
    if kind == "guest":
        if not isinstance(operand, list | tuple):
            raise ProgramError(f"{name}: {operand!r} is no guest: that is a list of operations")
        check(operand, guest=True)
    elif kind in CHOICES:
        if operand not in CHOICES[kind]:
            known = ", ".join(str(choice) for choice in CHOICES[kind])
            raise ProgramError(f"{name}: {operand!r} is no {kind} here; there are {known}")
    elif type(operand) is not int or not 0 <= operand < 1 << 64:
        raise ProgramError(f"{name}: the {kind} {operand!r} is no number of 64 bits")


def plain(operation: Operation) -> tuple[str, Sequence[Any]]:
    """The operation's name and operands, at whichever CPL."""
    name, *operands = operation[1:] if operation[0] == "user" else operation
    return name, operands


def flat(program: Program) -> Iterator[Operation]:
    """The operations in the order in which they end: a guest's before the VMRUN that ran it."""
    for operation in program:
        if operation[0] == "vmrun":
            yield from flat(operation[2])
        yield operation


def length(program: Program) -> int:
    """How many operations the program has, its guests' included."""
    return sum(length(operation[2]) + 1 if operation[0] == "vmrun" else 1 for operation in program)


def room(program: Program) -> int:
    """How many entries the program can leave: one more for each VMRUN, for an exception that it injects."""
    return length(program) + [operation[0] for operation in program].count("vmrun")


def text(program: Program, indent: str = "") -> str:
    """The program, one operation a line, numbers in hexadecimal; valid Python."""
    lines = []
    for operation in program:
        shown = ", ".join(
            "[\n" + text(part, indent + "    ") + f"\n{indent}]"
            if isinstance(part, list | tuple) and part
            else hex(part)
            if isinstance(part, int)
            else repr(part)
            for part in operation
        )
        lines.append(f"{indent}({shown}{',' if len(operation) == 1 else ''}),")
    return "\n".join(lines)
