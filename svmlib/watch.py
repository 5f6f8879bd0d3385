"""A learner's functions, watched while they run: where they stop, what they remember, and whose they are.

What is wrong with them is a CheckFailed: its message says what somebody noticed, `hint()` tells the rest.
"""

import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any, NoReturn, Self

from .faults import Fault, Runaway, Shutdown
from .instructions import Cpu
from .kvm import Vcpu

Function = Callable[[Cpu, Vcpu], None]

_REFERENCE = "svmlib.paths"
_PACKAGE = str(Path(__file__).parent)
#: The types that can hold what a function remembers.
REMEMBERED: set[type] = {int, bool, float, str, bytes, bytearray, type(None), list, tuple, dict, set}

#: Seconds that a check may take; those of the course take a tenth of it on a busy machine.
SECONDS = 10

_last: list[str] = []


class CheckFailed(AssertionError):
    """A check did not hold; the message is what somebody noticed, `hint()` tells the rest."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: the message alone, since the way to it leads through the check's own code."""
        return [f"{type(self).__name__}: {self}"]


def hint() -> None:
    """Print what the last failed check knows: rule, register, value and owner, carrier, the last steps."""
    print(_last[-1] if _last else "No check has failed since the notebook was opened.")


def failure(symptom: str, more: str = "") -> CheckFailed:
    """Return the error to raise, and remember what hint() is to say."""
    _last[:] = [more or symptom]
    return CheckFailed(f"{symptom}\nhint() tells more." if more else symptom)


class _Endless(BaseException):
    """The time of a check is up; no Exception, so that a learner's own handler does not take it for one."""


class Watch:
    """Around calls of a learner's functions: what they raise is a failed check, so is what they remember."""

    def __init__(self, *functions: Function):
        self.functions = functions
        self.before = remembered(*functions)
        #: Where one of them met a fault: a line to show, or none.
        self.line: list[str] = []

    def watch(self, function: Function) -> Function:
        """Return `function` as it is, but for noting the line at which the machine faults or stops."""

        def watched(cpu: Cpu, vcpu: Vcpu) -> None:
            try:
                function(cpu, vcpu)
            except (Fault, Shutdown, Runaway) as stop:
                self.line = _line(stop)
                raise

        return watched

    def __enter__(self) -> Self:
        """Begin, and let the time run where the system has a clock that interrupts (not on Windows)."""
        self.clock = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
        if self.clock:
            self.handler = signal.signal(signal.SIGALRM, _ring)
            signal.setitimer(signal.ITIMER_REAL, SECONDS, 1)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self.clock:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self.handler)
        if isinstance(error, _Endless):
            text = f"It had not ended after {SECONDS} seconds: a loop has no way out."
            raise failure("\n".join([text, *_line(error)])) from None
        if isinstance(error, Exception) and not isinstance(error, CheckFailed):
            _crashed(error)
        after = remembered(*self.functions)
        for name in after:
            if self.before.get(name) != after[name]:
                why = (
                    "The kernel has one copy of this code, which all CPUs run for all vCPUs.\n"
                    "What one call leaves for another belongs in a field of the vCPU: vcpu.host_ldt = ..."
                )
                raise failure(f"{name} is a Python variable that changed from one call to the next.", why)


def _ring(number: int, frame: object) -> NoReturn:
    raise _Endless


def _crashed(error: Exception) -> NoReturn:
    """Tell an exception of a learner's function by the line of theirs where it came up."""
    if isinstance(error, NotImplementedError):
        text = "Not written yet: NotImplementedError is still raised."
    elif isinstance(error, Fault | Shutdown):
        text = f"The host stopped: {error}"
    else:
        text = f"{type(error).__name__}: {words_of(error)}"
    raise failure("\n".join([text, *_line(error)])) from None


def words_of(error: BaseException, cpu: type = Cpu) -> str:
    """Return what an exception says; for an instruction that a `cpu` has not, the one called almost so.

    That is found out here, when a check has failed: a method of Cpu's for it would slow every instruction.
    """
    name = getattr(error, "name", None)
    is_of_cpu = isinstance(error, AttributeError) and type(error.obj) is cpu
    if is_of_cpu and isinstance(name, str) and not hasattr(cpu, name):
        known = [each for each in vars(Cpu) if not each.startswith("_")]
        near = get_close_matches(name.lower(), known, 1, 0.7)
        return f"cpu has no instruction {name!r:.40}" + "".join(f"; the nearest is {each}" for each in near)
    return str(error.args[0] if isinstance(error, KeyError) and error.args else error)


def _line(error: BaseException) -> list[str]:
    """The learner's line that an exception passed through last; a function that runs elsewhere knows it."""
    if known := getattr(error, "learners_line", None):
        return [str(known)]
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(_PACKAGE)]
    return [f"In {f.name}, line {f.lineno}: {f.line}" for f in frames[-1:]]


def require_own(function: Any) -> None:
    """Raise CheckFailed if `function` is a reference path's own, or names one."""
    for name, value in _reached(function):
        if _is_reference(value):
            how = "is" if value is function else f"uses {name},"
            raise failure(f"{name_of(function)} {how} the reference path's own; the exercise asks for yours")


def _is_reference(value: Any) -> bool:
    if isinstance(value, SimpleNamespace):
        value = vars(value)
    if isinstance(value, Mapping):
        return any(_is_reference(item) for item in value.values() if hasattr(item, "__name__"))
    module = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    return f"{module}.".startswith(f"{_REFERENCE}.")


def remembered(*functions: Function) -> dict[str, str]:
    """Return what functions could remember in Python, by name: globals, attributes, defaults, closures."""
    found = {}
    for function in functions:
        for name, value in _reached(function):
            if type(value) in REMEMBERED:
                found[name] = repr(value)
            elif not isinstance(value, (FunctionType, ModuleType)):
                held = getattr(value, "__dict__", {})
                found |= {f"{name}.{k}": repr(v) for k, v in held.items() if type(v) in REMEMBERED}
    return found


def _reached(function: Any, seen: set[int] | None = None) -> Iterator[tuple[str, Any]]:
    """Yield `function` and all it names outside its arguments, through the functions that it calls."""
    seen = set() if seen is None else seen
    if id(function) in seen:
        return
    seen.add(id(function))
    yield name_of(function), function
    if isinstance(function, partial):
        yield from _reached(function.func, seen)
        yield from ((name_of(function), item) for item in function.args)
        return
    if isinstance(function, MethodType):
        yield name_of(function.__self__), function.__self__
        function = function.__func__
    if not isinstance(function, FunctionType) or str(function.__module__).startswith("svmlib."):
        return
    names = list(_names(function.__code__))
    outside = [(name, function.__globals__[name]) for name in names if name in function.__globals__]
    outside += [(name, sys.modules.get(name)) for name in names if name.startswith(_REFERENCE)]
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        outside.append((name, cell.cell_contents))
    outside += [(f"a default of {name_of(function)}", value) for value in function.__defaults__ or ()]
    outside += vars(function).items()
    for name, value in outside:
        yield name, value
        if isinstance(value, FunctionType | MethodType):
            yield from _reached(value, seen)


def _names(code: CodeType) -> Iterator[str]:
    """Yield the names that `code` looks up or imports, functions inside it included."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def name_of(function: Any) -> str:
    """Return what a function is called in messages."""
    name = getattr(function, "__name__", None)
    return str(name or getattr(getattr(function, "func", None), "__name__", type(function).__name__))
