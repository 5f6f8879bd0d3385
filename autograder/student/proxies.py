"""`cpu` and `vcpu` in a student's process: each instruction is handed to the judge, which holds the machine.

An instruction is posted, and what it returns is a Promise: a number that has not crossed yet. Passed on to
another instruction or stored in a field it never does; looked at, it is fetched. So most of a path runs
without waiting, and nobody learns a register but by the instruction that reads it.
"""

import itertools
import operator
from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Any, NoReturn

from svmlib.faults import Fault
from svmlib.instructions import Cpu

from .. import wire

#: An answer that was asked for, or an exception that an instruction raised: ("value", n, path, answer),
#: ("raise", n, kind, arguments).
Event = list[Any]
_ERRORS: dict[str, Callable[..., Exception]] = {
    "Fault": Fault,
    **{
        kind.__name__: kind
        for kind in (
            AttributeError,
            TypeError,
            ValueError,
            KeyError,
            IndexError,
            OverflowError,
            ArithmeticError,
        )
    },
}


_serials = itertools.count()


class Rewind(BaseException):
    """The call begins again: an instruction of it had raised, which is known only now."""


class Dropped(BaseException):
    """The judge needs no more of this call."""


class Call:
    """One call of a function by the machine: the instructions it posts, the answers it looks at.

    `script` holds what is known of answers already: a call is asked again from its start to learn what it
    does where another answer comes. `ask` sends instructions and waits for what comes next.
    """

    def __init__(self, script: list[Event], known: int, ask: Callable[[dict[str, Any]], dict[str, Any]]):
        """Begin; the first `known` instructions are not sent again."""
        self.script, self.sent, self.ask = script, known, ask
        self.serial = next(_serials)
        self.place = 0
        self.count = 0
        self.waiting: list[Any] = []
        self.answers: dict[tuple[Any, ...], Any] = {}
        self.is_over = False

    def post(self, kind: str, on: int, name: str, *operands: Any, **named: Any) -> "Promise":
        """Hand an instruction over, or raise what it is known to raise."""
        self._require_now()
        number = self.count
        self.count += 1
        self._send(number, kind, on, name, operands, named)
        if event := self._scripted("raise", number):
            raise _ERRORS[event[2]](*wire.decode(event[3]))
        return Promise(self, number, ())

    def compute(self, name: str, left: Any, right: Any) -> Any:
        """Let the judge compute with numbers that have not crossed; here, where they are no plain numbers."""
        self._require_now()
        number = self.count
        self.count += 1
        self._send(number, "a", 0, name, (left, right), {})
        if self._scripted("raise", number):
            return COMPUTED[name](_seen(left), _seen(right))
        return Promise(self, number, ())

    def _send(
        self, number: int, kind: str, on: int, name: str, operands: tuple[Any, ...], named: dict[str, Any]
    ) -> None:
        if number < self.sent:
            return
        line = [kind, on, name, [wire.encode(operand, refer) for operand in operands]]
        if named:
            line.append({key: wire.encode(value, refer) for key, value in named.items()})
        self.waiting.append(line)
        if len(self.waiting) >= wire.TOGETHER:
            self._fetch(["more"])

    def look(self, number: int, path: tuple[Any, ...]) -> Any:
        """Fetch what instruction `number` returned, or a part of it."""
        key = (number, *path)
        if key not in self.answers:
            self._require_now()
            event = self._scripted("value", number)
            if event is None:
                self._fetch(["look", number, list(path)])
                event = self._scripted("value", number)
            if event is None:
                raise Rewind
            self.answers[key] = self._made(event[3], number, path)
        return self.answers[key]

    def end(self) -> list[Any]:
        """Close the call; the instructions that are still to be sent."""
        self.is_over = True
        return self.waiting

    def _scripted(self, what: str, number: int) -> Event | None:
        if self.place < len(self.script):
            event = self.script[self.place]
            if event[0] == what and event[1] == number:
                self.place += 1
                return event
        return None

    def _fetch(self, end: list[Any]) -> None:
        """Send what was posted and take the answer into the script."""
        lines, self.waiting = self.waiting, []
        self.sent = max(self.sent, self.count)
        message = self.ask({"ops": lines, "end": end})
        if message["do"] == "answer":
            self.script.extend(message["events"])
        elif message["do"] == "fail":
            # What this call did after that instruction is void: it did not know.
            del self.script[self.place :]
            self.script.append(message["event"])
            self.is_over = True
            raise Rewind
        else:
            self.is_over = True
            raise Dropped

    def _made(self, answer: Any, number: int, path: tuple[Any, ...]) -> Any:
        """A scalar as it is; of a tuple or a mapping only the shape, its parts promises again."""
        if type(answer) is not list or answer[0] == "b":
            return wire.decode(answer)
        if answer[0] == "tuple":
            return tuple(Promise(self, number, (*path, i)) for i in range(answer[1]))
        keys = [wire.decode(key) for key in answer[1]]
        return MappingProxyType({key: Promise(self, number, (*path, i)) for i, key in enumerate(keys)})

    def _require_now(self) -> None:
        if self.is_over:
            raise RuntimeError(
                "This value belongs to an earlier call of a path's function. Between calls only fields "
                "of vcpu and memory remember."
            )


#: What can be computed with numbers that have not crossed.
COMPUTED: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "and": operator.and_,
    "or": operator.or_,
    "xor": operator.xor,
    "lshift": operator.lshift,
    "rshift": operator.rshift,
}


def refer(value: Any) -> list[Any]:
    """Name a promise for the wire."""
    if type(value) is Promise:
        call, number, path = _inside(value)
        call._require_now()  # noqa: SLF001
        return ["p", number, list(path)]
    if type(value) in (CpuProxy, VcpuProxy):
        return ["vcpu" if type(value) is VcpuProxy else "cpu", value._on]  # noqa: SLF001
    if isinstance(value, MappingProxyType):
        raise wire.WireError("hand over a dict of it: dict(value)")
    raise wire.WireError(f"an instruction takes numbers, and a field plain data, not {type(value).__name__}")


class Promise:
    """What an instruction returned, fetched when it is looked at; then it behaves as that number."""

    __slots__ = ("_call", "_number", "_path")

    def __init__(self, call: Call, number: int, path: tuple[Any, ...]):
        """Stand for what instruction `number` of `call` returned, or the part of it at `path`."""
        object.__setattr__(self, "_call", call)
        object.__setattr__(self, "_number", number)
        object.__setattr__(self, "_path", path)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return Promise if _inside(self)[0].is_over else type(_look(self))

    def __getattr__(self, name: str) -> Any:
        if _inside(self)[0].is_over:
            raise AttributeError(name)
        return getattr(_look(self), name)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"a number has no attribute {name}")

    def __iter__(self) -> Iterator[Any]:
        return iter(_look(self))

    def __contains__(self, item: Any) -> bool:
        return item in _look(self)

    def __format__(self, spec: str) -> str:
        return format(_look(self), spec)

    def __repr__(self) -> str:
        call, number, path = _inside(self)
        if call.is_over and (number, *path) not in call.answers:
            return f"<value {number} of call {call.serial}>"
        return repr(_look(self))

    def __round__(self, digits: int | None = None) -> Any:
        return round(_look(self), digits)


def _inside(promise: Promise) -> tuple[Call, int, tuple[Any, ...]]:
    get = object.__getattribute__
    return get(promise, "_call"), get(promise, "_number"), get(promise, "_path")


def _look(promise: Promise) -> Any:
    call, number, path = _inside(promise)
    return call.look(number, path)


def _seen(value: Any) -> Any:
    return _look(value) if type(value) is Promise else value


def _later(name: str, left: Any, right: Any) -> Any:
    """An operator on promises: computed by the judge where both sides are numbers or promises."""
    for side in (left, right):
        if type(side) is not Promise and type(side) is not int:
            break
    else:
        promise = left if type(left) is Promise else right
        return _inside(promise)[0].compute(name, left, right)
    return COMPUTED[name](_seen(left), _seen(right))


_UNARY: dict[str, Callable[[Any], Any]] = {
    "neg": operator.neg,
    "pos": operator.pos,
    "abs": abs,
    "invert": operator.invert,
    "index": operator.index,
    "int": int,
    "float": float,
    "bool": bool,
    "len": len,
    "hash": hash,
    "str": str,
}


def _give_operators() -> None:
    """Give Promise the operators of a number, a tuple and a mapping: most look first."""
    for name in COMPUTED:
        setattr(Promise, f"__{name}__", lambda self, other, name=name: _later(name, self, other))
        setattr(Promise, f"__r{name}__", lambda self, other, name=name: _later(name, other, self))
    both = ("floordiv", "truediv", "mod", "pow", "matmul")
    for name in (*both, "lt", "le", "eq", "ne", "gt", "ge", "getitem"):
        function = getattr(operator, name)

        def forth(self: Promise, other: Any, function: Callable[..., Any] = function) -> Any:
            return function(_look(self), _seen(other))

        def back(self: Promise, other: Any, function: Callable[..., Any] = function) -> Any:
            return function(_seen(other), _look(self))

        setattr(Promise, f"__{name}__", forth)
        if name in both:
            setattr(Promise, f"__r{name}__", back)
    for name, function in _UNARY.items():

        def one(self: Promise, function: Callable[..., Any] = function) -> Any:
            return function(_look(self))

        setattr(Promise, f"__{name}__", one)
    setattr(Promise, "__divmod__", lambda self, other: divmod(_look(self), _seen(other)))  # noqa: B010


_give_operators()


class CpuProxy:
    """A CPU as code on it sees it: instructions, and nothing else."""

    __slots__ = ("_call", "_on")

    def __init__(self, call: Call, on: int):
        """Post the instructions of `call`; `on` tells the arguments of one call apart."""
        self._call, self._on = call, on

    def __repr__(self) -> str:
        return "CPU"


def _give_instructions() -> None:
    for name in (name for name in vars(Cpu) if not name.startswith("_")):

        def issue(self: CpuProxy, *operands: Any, _name: str = name, **named: Any) -> Promise:
            return self._call.post("i", self._on, _name, *operands, **named)

        issue.__name__ = name
        setattr(CpuProxy, name, issue)


_give_instructions()


class VcpuProxy:
    """A vCPU as a path sees it: fields that it may read, assign and add, which the judge keeps."""

    __slots__ = ("_call", "_on")

    def __init__(self, call: Call, on: int):
        """Read and write fields for `call`; `on` tells the arguments of one call apart."""
        object.__setattr__(self, "_call", call)
        object.__setattr__(self, "_on", on)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._call.post("r", self._on, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._call.post("w", self._on, name, _plain(value))

    def __repr__(self) -> str:
        return "Vcpu(...)"


def _plain(value: Any) -> Any:
    """Mappings as a vcpu hands them out are dicts again."""
    return {key: _plain(item) for key, item in value.items()} if type(value) is MappingProxyType else value


def kernel(on: CpuProxy | VcpuProxy, name: str, *operands: Any, **named: Any) -> Promise:
    """Post a function of the kernel's own, which the judge runs whole."""
    return on._call.post("k", on._on, name, *operands, **named)  # noqa: SLF001
