"""A program as a person writes it: what programs.text prints, and names for numbers.

("vmsave", HOST),                       a page of the machine: HOST, GUEST, SPARE, VMCB
("wrmsr", LSTAR, 1 << 47),              an MSR
("store", linear(VMCB.ASID), 0, 4),     a field of a page; loads and stores take linear addresses
("vmrun", VMCB, [("swapgs",)]),         a guest

It is read as Python's own parser reads it and executed by nobody: numbers, strings, tuples, lists, the names
above and + - * | & ^ ~ << >> are all there is.
"""

import ast
import operator
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from ..data import rows
from ..memory import DIRECT_MAP
from ..registers import BY_MSR, MSR, REGISTERS
from ..vmcb import CONTROL
from . import layout as at
from .outcomes import PAGES
from .programs import OPERANDS, Operation, ProgramError, check

_WORD = 1 << 64
#: What a name stands for: the pages, and the permission maps of a fresh VMCB.
_PLACES = PAGES | {"MSRPM": at.MSRPM, "IOPM": at.IOPM}
_MSRS: dict[str, int] = vars(MSR)
#: Field of a page -> its offset.
FIELDS = {name: offset for name, (offset, _) in CONTROL.items()} | {
    name: row.vmcb for name, row in REGISTERS.items() if row.vmcb is not None
}
_BINARY: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_,
    ast.BitXor: operator.xor,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
}
_UNARY: dict[type[ast.unaryop], Callable[[int], int]] = {ast.USub: operator.neg, ast.Invert: operator.invert}

EXAMPLE = """\
# A world switch that forgets something.  Run it:  python -m svmlib emulate FILE
# An operation is a tuple: its name, then its operands.  A line that begins with # is a comment.

("vmsave", HOST),                       # the host's half that VMRUN leaves alone, into the page HOST
("clgi",),
("vmrun", VMCB, [                       # what the guest does; then it leaves with VMMCALL
    ("wrmsr", LSTAR, 0x7f00_0000_1000),     # where SYSCALL goes
    ("wrmsr", KERNEL_GS_BASE, 0x5000),
    ("mov_to_sreg", "FS", 0x68),            # a segment with a base of its own
    ("wrmsr", TSC_AUX, 7),
]),
("vmsave", VMCB),                       # the guest's half, into its VMCB

# Now every register that VMSAVE carries still holds the guest's value.  This line puts the host's back:
# ("vmload", HOST),

("stgi",),
"""


def program(text: str) -> list[Operation]:
    """Read a program; ProgramError says in which line it is none, and why."""
    try:
        # A newline before the bracket: the last line may be a comment.
        body = ast.parse(f"[{text}\n]", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        where = f"line {line}: " if line else ""
        raise ProgramError(
            f"{where}this is not a list of operations ({getattr(error, 'msg', error)}); "
            'an operation is written ("vmsave", HOST), with its brackets and the comma behind them'
        ) from None
    items = body.elts if isinstance(body, ast.List) else []
    if len(items) == 1 and isinstance(items[0], ast.List):
        items = items[0].elts
    found = [_operation(item, guest=False) for item in items]
    if not found:
        raise ProgramError("the program has no operations; python -m svmlib emulate --example prints one")
    return found


def _operation(node: ast.expr, *, guest: bool) -> Operation:
    """Read one operation, and let `programs.check` judge it."""
    line = f"line {node.lineno}: "
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        parts: list[ast.expr] = [node]  # ("clgi"), without the comma that makes it a tuple
    elif isinstance(node, ast.Tuple | ast.List):
        parts = node.elts
    else:
        raise ProgramError(line + _no_operation(node))
    try:
        operation = tuple(_operand(part) for part in parts)
        _require_name(operation)
        check([operation], guest=guest)
    except ProgramError as error:
        said = str(error)
        raise ProgramError(said if said.startswith("line ") else line + said) from None
    return operation


def _no_operation(node: ast.expr) -> str:
    """Why `node` is no operation, and what was meant, as far as one can see."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Tuple):
        return f"a comma is missing behind {ast.unparse(node.func)}"
    written = ast.unparse(node)
    meant = f'("{written}",)' if written in OPERANDS else '("vmsave", HOST)'
    return f"{written} is no operation; one is written {meant}, with brackets, and a comma behind them"


def _require_name(operation: Operation) -> None:
    """Raise ProgramError unless it begins with an operation's name, behind "user" or not."""
    named = operation[1:] if operation and operation[0] == "user" else operation
    if not named:
        raise ProgramError('an operation begins with its name: ("clgi",)')
    name = named[0]
    if name in OPERANDS:
        return
    if not isinstance(name, str):
        raise ProgramError(f"an operation begins with its name, and {name!r} is none")
    near = _near(name.lower(), OPERANDS) or "python -m svmlib emulate --help lists all"
    raise ProgramError(f"no operation {name!r}; {near}")


def _operand(node: ast.expr) -> Any:
    """The value of an operand: a number of 64 bits, a string, or a guest's operations."""
    if isinstance(node, ast.List | ast.Tuple):
        return [_operation(item, guest=True) for item in node.elts]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    value = _number(node)
    if not -_WORD // 2 <= value < _WORD:
        raise ProgramError(f"{ast.unparse(node)} is {value:#x}, and an operand has 64 bits")
    return value % _WORD


def _number(node: ast.expr) -> int:
    match node:
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            return value
        case ast.Name() | ast.Attribute():
            return _named(ast.unparse(node))
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            return _UNARY[type(op)](_number(operand))
        case ast.BinOp(op=op, left=left, right=right) if type(op) in _BINARY:
            return _calculated(node, type(op), _number(left), _number(right))
        case ast.Call(func=ast.Name(id="linear"), args=[address], keywords=[]):
            return at.linear(_number(address))
    raise ProgramError(
        f"{ast.unparse(node)} is no operand; there are numbers, strings, MSRs, pages and their fields "
        "(VMCB.ASID), linear(...) and + - * | & ^ ~ << >>"
    )


def _calculated(node: ast.expr, op: type[ast.operator], left: int, right: int) -> int:
    """Calculate, but for shifts that would fill the memory."""
    if op in (ast.LShift, ast.RShift) and not 0 <= right <= 64:
        raise ProgramError(f"{ast.unparse(node)} shifts by {right}; an operand has 64 bits")
    value = _BINARY[op](left, right)
    if abs(value) >> 128:
        raise ProgramError(f"{ast.unparse(node)} is too large; an operand has 64 bits")
    return value


def _named(name: str) -> int:
    """The number that a name stands for: an MSR's, a page's or a field's address."""
    if name in _PLACES:
        return _PLACES[name]
    msr = name.removeprefix("MSR.")
    if msr in _MSRS:
        return _MSRS[msr]
    page, _, field = name.partition(".")
    if page in PAGES:
        if field in FIELDS:
            return PAGES[page] + FIELDS[field]
        raise ProgramError(f"the page {page} has no field {field!r}; {_near(field, FIELDS) or _SOME_FIELDS}")
    known = {*_PLACES, *_MSRS, "linear"}
    near = _near(name, known) or f"there are {', '.join(sorted(known))}"
    raise ProgramError(f"no name {name!r}; {near}")


_SOME_FIELDS = "there are those of the VMCB, such as ASID, EFER and FS.base"


def _near(name: str, known: Any) -> str:
    """The nearest of the known names, as an answer; or nothing."""
    found = get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(found)}?" if found else ""


# -- And back: an operation as a line to read

_EXITS = {int(row["exitcode"], 16): row["name"] for row in rows("exitcodes")}
_OFFSETS = {offset: name for name, offset in reversed(FIELDS.items())}
_PAGE_AT = {pa: name for name, pa in PAGES.items()}


def said(operation: Operation) -> str:
    """An operation on one line, its numbers by name where they have one; a guest's program is left out."""
    at_cpl3 = operation[0] == "user"
    name, *operands = operation[1:] if at_cpl3 else operation
    kinds = OPERANDS[name]
    words = [
        _said(kind, value) for kind, value in zip(kinds, operands, strict=True) if not isinstance(value, list)
    ]
    return " ".join([name, *words, *(["at CPL 3"] if at_cpl3 else [])])


def _said(kind: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if kind == "msr" and value in BY_MSR:
        return BY_MSR[value].msr_name
    return place(value) or (str(value) if kind in ("size", "number") else f"{value:#x}")


def place(value: int) -> str:
    """The name of a page or of a field of one, physical or linear; "" for any other number."""
    pa = value - DIRECT_MAP if value >= DIRECT_MAP else value
    page = _PAGE_AT.get(pa & ~0xFFF)
    if page is None:
        return ""
    offset = pa & 0xFFF
    name = (
        page if not offset else f"{page}.{_OFFSETS[offset]}" if offset in _OFFSETS else f"{page}+{offset:#x}"
    )
    return f"linear({name})" if value >= DIRECT_MAP else name


def exitcode(value: int) -> str:
    """The name of an EXITCODE, or its number."""
    if value in _EXITS:
        return _EXITS[value]
    below = max((first for first in _EXITS if first <= value), default=None)
    row_of = {"CR_READ": 16, "CR_WRITE": 16, "DR_READ": 16, "DR_WRITE": 16, "EXCEPTION": 32}
    if below is not None and value - below < row_of.get(_EXITS[below], 0):
        return f"{_EXITS[below]}+{value - below}"
    return f"{value:#x}"
