"""What a path's function does with the machine: a tree that is learnt one question at a time.

The student's process is asked which instructions the function posts until it looks at an answer. The judge
executes them, and goes on along the branch of the answer that was looked at; only where no branch is known is
the function asked again. So a function is what it does for what it was given. It cannot do something else the
second time, and a value it kept in Python is as stale as the first call.
"""

import json
import operator
from collections.abc import Callable, Hashable
from types import MappingProxyType
from typing import Any

from svmlib.faults import Fault, Runaway
from svmlib.instructions import Cpu
from svmlib.kvm import Vcpu
from svmlib.processor import CALL_LIMIT

from .. import kernel, wire
from .conversation import Tampering

Question = dict[str, Any]
Operation = Callable[[list[Any], list[Any]], Any]

INSTRUCTIONS = frozenset(name for name in vars(Cpu) if not name.startswith("_"))
#: What an instruction may raise for the student's code to catch. All else stops the machine.
RAISED = (Fault, AttributeError, TypeError, ValueError, LookupError, ArithmeticError)
_MACHINES = (Cpu, Vcpu)
#: Answers that one call may look at: a path looks at a few, an endless loop at any number.
LOOKS = 64
#: Exceptions of instructions that one call may catch: each costs a call from the start.
CAUGHT = 50
#: Arithmetic on numbers that have not crossed, and their width in bits: others are computed where they are
#: seen.
COMPUTED: dict[str, Callable[[int, int], int]] = {
    name.strip("_"): getattr(operator, name)
    for name in ("add", "sub", "mul", "and_", "or_", "xor", "lshift", "rshift")
}
WIDE = 128
_KINDS = (
    "Fault",
    "AttributeError",
    "TypeError",
    "ValueError",
    "KeyError",
    "IndexError",
    "OverflowError",
    "ArithmeticError",
)


class Segment:
    """Instructions up to the next look or the end, and the segments that follow for each answer."""

    __slots__ = ("after", "end", "operations")

    def __init__(self, answer: Question):
        """Read it from an answer of the student's process; Tampering when it is none."""
        lines, end = answer.get("ops"), answer.get("end")
        if type(lines) is not list or len(lines) > wire.TOGETHER or type(end) is not list or not end:
            raise Tampering("an answer about a path's function without instructions, or with too many")
        if end[0] not in ("look", "more", "return", "raise"):
            raise Tampering("a path's function ended in a way that there is none")
        self.operations = [_operation(line) for line in lines]
        self.end = end
        self.after: dict[Hashable, Segment] = {}


def _operation(line: Any) -> Operation:
    """An instruction, or the access to a field of vcpu, ready to be executed with (arguments, results)."""
    try:
        kind, on, name, operands, *rest = line
        if type(on) is not int or type(name) is not str or type(operands) is not list or on < 0:
            raise ValueError(line)
        values = [_operand(operand) for operand in operands]
        named = {str(key): _operand(value) for key, value in (rest[0] if rest else {}).items()}
    except (ValueError, TypeError, AttributeError, wire.WireError):
        raise Tampering("something that is no instruction") from None
    if kind == "a" and name in COMPUTED and len(values) == 2:
        return _arithmetic(COMPUTED[name], values)
    if kind == "i" and name in INSTRUCTIONS:
        return _instruction(on, name, values, named)
    if kind == "k" and name in kernel.FUNCTIONS:
        return _kernels(on, name, values, named)
    if kind in ("r", "w") and name.isidentifier() and not name.startswith("_"):
        return _field(kind, on, name, values)
    raise Tampering(f"there is no instruction {name!r:.40}, nor may a field have that name")


class _Later:
    """An operand that is, or holds, the result of an earlier instruction."""

    def __init__(self, tree: Any):
        self.tree = tree
        self.plain = type(tree) is list and tree[:2] == ["x", "p"] and len(tree) == 4
        if self.plain:
            self.number, self.path = _place(tree[2:])

    def value(self, results: list[Any]) -> Any:
        if self.plain:
            return _part(results, self.number, self.path)
        return wire.decode(self.tree, lambda rest: _part(results, *_place(rest[1:])))


class _Argument:
    """An operand that is one of the call's own arguments: cpu or vcpu handed on."""

    def __init__(self, on: int):
        self.on = on


def _place(rest: list[Any]) -> tuple[int, list[int]]:
    number, path = rest
    if (
        type(number) is not int
        or number < 0
        or type(path) is not list
        or any(type(step) is not int for step in path)
    ):
        raise Tampering("a result that is none")
    return number, path


def _part(results: list[Any], number: int, path: list[int]) -> Any:
    try:
        value: Any = results[number]
        for step in path:
            value = list(value.values())[step] if isinstance(value, MappingProxyType) else value[step]
    except (IndexError, KeyError, TypeError):
        raise Tampering("a result that is none") from None
    return value


def _operand(tree: Any) -> Any:
    if type(tree) is not list:
        return wire.decode(tree)
    if len(tree) == 3 and tree[0] == "x" and tree[1] in ("cpu", "vcpu") and type(tree[2]) is int:
        return _Argument(tree[2])
    return _Later(tree) if '"x"' in json.dumps(tree) else wire.decode(tree)


def _filled(values: list[Any], results: list[Any]) -> list[Any]:
    return [value.value(results) if type(value) is _Later else value for value in values]


def _real(values: list[Any], arguments: list[Any], results: list[Any]) -> list[Any]:
    """Operands with the call's arguments and the earlier results in their places."""
    return [
        value
        if (kind := type(value)) is not _Later and kind is not _Argument
        else value.value(results)
        if kind is _Later
        else _of(arguments, value.on, _MACHINES)
        for value in values
    ]


def _kernels(on: int, name: str, values: list[Any], named: dict[str, Any]) -> Operation:
    """A function of the kernel's own: it may be given the call's other argument, too."""
    function = kernel.FUNCTIONS[name]
    keys, others = list(named), list(named.values())

    def run(arguments: list[Any], results: list[Any]) -> Any:
        operands = _real(values, arguments, results)
        if not keys:
            return function(_of(arguments, on, _MACHINES), *operands)
        by_name = dict(zip(keys, _real(others, arguments, results), strict=True))
        return function(_of(arguments, on, _MACHINES), *operands, **by_name)

    return run


def _instruction(on: int, name: str, values: list[Any], named: dict[str, Any]) -> Operation:
    is_ready = not any(type(value) is _Later for value in [*values, *named.values()])

    def ready(arguments: list[Any], results: list[Any]) -> Any:
        return getattr(_of(arguments, on, Cpu), name)(*values, **named)

    def filled(arguments: list[Any], results: list[Any]) -> Any:
        if not named:
            return getattr(_of(arguments, on, Cpu), name)(*_filled(values, results))
        by_name = dict(zip(named, _filled(list(named.values()), results), strict=True))
        return getattr(_of(arguments, on, Cpu), name)(*_filled(values, results), **by_name)

    return ready if is_ready else filled


def _arithmetic(function: Callable[[int, int], int], values: list[Any]) -> Operation:
    """Numbers that the student's code computes without having seen them: no instruction of the machine."""

    def compute(arguments: list[Any], results: list[Any]) -> int:
        left, right = _filled(values, results)
        if type(left) is not int or type(right) is not int:
            raise TypeError("no numbers")
        if (
            left.bit_length() > WIDE
            or right.bit_length() > WIDE
            or ("shift" in function.__name__ and right > WIDE)
        ):
            raise OverflowError("too wide")
        return function(left, right)

    return compute


def _field(kind: str, on: int, name: str, values: list[Any]) -> Operation:
    def read(arguments: list[Any], results: list[Any]) -> Any:
        return getattr(_of(arguments, on, Vcpu), name)

    def write(arguments: list[Any], results: list[Any]) -> None:
        setattr(_of(arguments, on, Vcpu), name, *_filled(values, results))

    return read if kind == "r" else write


def _of(arguments: list[Any], on: int, kind: Any) -> Any:
    if 0 <= on < len(arguments) and isinstance(arguments[on], kind):
        return arguments[on]
    raise Tampering("an argument that is none of the call's")


class Behaviour:
    """One function called by the machine with one pattern of arguments."""

    def __init__(self, of: str, pattern: list[Any], ask: Callable[[Question], Question]):
        """Learn what the object `of` does; `ask` puts a question to the student's process."""
        self.question = {"do": "machine", "of": of, "args": pattern}
        self.ask = ask
        self.first: Segment | None = None
        self.executed = 0

    def perform(self, arguments: list[Any]) -> tuple[list[Any], list[Any], BaseException | None]:
        """Execute the function on real arguments: how it ended, all results, and what it let pass uncaught.

        What stops the machine comes out of here as it is, with `script` and `at` for the student's line.
        """
        results: list[Any] = []
        script: list[Any] = []
        error: BaseException | None = None
        is_live = False
        segment = self.first
        try:
            if segment is None:
                segment, is_live = self._begin(script, 0)
                self.first = segment
            while True:
                event, failed = self._execute(segment, arguments, results)
                error = failed or error
                if event is None:
                    return segment.end, results, error
                key = _key(event)
                if event[0] != "more":
                    script.append(event)
                if len(script) > LOOKS:
                    raise Runaway(f"the function had looked at {LOOKS} answers and went on")
                if len(results) > CALL_LIMIT:  # the processor does not count fields and arithmetic
                    raise Runaway(f"the function had posted {CALL_LIMIT} instructions and went on")
                if event[0] == "raise" and sum(one[0] == "raise" for one in script) > CAUGHT:
                    raise Runaway(f"the function had caught {CAUGHT} exceptions and went on")
                following = segment.after.get(key)
                if following is None:
                    following, is_live = self._go_on(event, script, results, is_live=is_live)
                    segment.after[key] = following
                elif is_live:
                    self._drop()
                    is_live = False
                segment = following
        except BaseException as stop:
            stop.at = (script, len(results))  # type: ignore[attr-defined]
            if is_live:
                self._drop()
            raise
        finally:
            self.executed += len(results)

    def _execute(
        self, segment: Segment, arguments: list[Any], results: list[Any]
    ) -> tuple[list[Any] | None, BaseException | None]:
        """Execute a segment; the event that decides how it goes on, None at the function's end."""
        for operation in segment.operations:
            try:
                results.append(operation(arguments, results))
            except RAISED as raised:
                number = len(results)
                results.append(None)
                return ["raise", number, *_told(raised)], raised
        what, *rest = segment.end
        if what == "look":
            number, path = _place(rest)
            return ["value", number, path, _shape(_part(results, number, path))], None
        return (["more"] if what == "more" else None), None

    def _begin(self, script: list[Any], known: int) -> tuple[Segment, bool]:
        segment = Segment(self.ask(self.question | {"script": script, "known": known}))
        return segment, segment.end[0] in ("look", "more")

    def _go_on(
        self, event: list[Any], script: list[Any], results: list[Any], *, is_live: bool
    ) -> tuple[Segment, bool]:
        if not is_live:
            return self._begin(script, len(results))
        if event[0] == "raise":
            answer = self.ask({"do": "fail", "event": event})
        else:
            answer = self.ask({"do": "answer", "events": [] if event[0] == "more" else [event]})
        segment = Segment(answer)
        return segment, segment.end[0] in ("look", "more")

    def _drop(self) -> None:
        self.ask({"do": "drop"})


def _key(event: list[Any]) -> Hashable:
    """What tells an event from others at the same place; 1 and True are not the same."""
    told = event[-1]
    return (event[0], type(told), told) if type(told) in (int, bool, str) else json.dumps(event)


def _shape(value: Any) -> Any:
    """What is told of a value that is looked at: a scalar itself, of a tuple or a mapping its shape."""
    if isinstance(value, tuple):
        return ["tuple", len(value)]
    if isinstance(value, MappingProxyType):
        return ["mapping", [wire.encode(key) for key in value]]
    return wire.encode(value)


def _told(error: BaseException) -> list[Any]:
    """An exception for the student's side: its kind, and its arguments as plain data."""
    if isinstance(error, Fault):
        return ["Fault", wire.encode([error.vector, error.why, error.error_code, error.address])]
    kind = next(base.__name__ for base in type(error).__mro__ if base.__name__ in _KINDS)
    return [kind, wire.encode([str(error.args[0]) if error.args else ""])]
