"""A program: operations as data, a tuple each: a name and its operands, ready for JSON.

("wrmsr", 0xC0000082, 1 << 47)    operands are numbers, FS and GS their names
("user", "swapgs")                the operation that follows, at CPL 3
("vmrun", VMCB, [operations])     the guest runs the operations, then VMMCALL
("vmcb",)                         not an instruction: the VMCB page as it was at the start
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
    "clgi": (),
    "stgi": (),
    "cli": (),
    "sti": (),
    "swapgs": (),
    "rdfsbase": (),
    "rdgsbase": (),
    "wrfsbase": ("value",),
    "wrgsbase": ("value",),
    "mov_from_sreg": ("segment",),
    "mov_to_sreg": ("segment", "selector"),
    "sldt": (),
    "lldt": ("selector",),
    "str": (),
    "ltr": ("selector",),
    "load": ("address", "size"),
    "store": ("address", "value", "size"),
    "load_gs": ("address", "size"),
    "store_gs": ("address", "value", "size"),
    "vmcb": (),
}


class ProgramError(ValueError):
    """A program that is none: the message names the operation."""


def check(program: Program, *, guest: bool = False) -> None:
    """Raise ProgramError unless every operation is one, with as many operands as it takes."""
    for operation in program:
        name, operands = plain(operation)
        if name not in OPERANDS or (guest and name in ("vmrun", "vmcb")):
            known = ", ".join(OPERANDS)
            where = "a guest's operation" if guest else "an operation"
            raise ProgramError(f"{name!r} is not {where} here; there are {known}")
        if len(operands) != len(OPERANDS[name]):
            raise ProgramError(f"{name} takes {', '.join(OPERANDS[name]) or 'no operands'}: {operation!r}")
        if name == "vmrun":
            check(operands[1], guest=True)


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
