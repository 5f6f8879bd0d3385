"""What an exercise asserts: a failed check says what somebody noticed, hint() which register, whose, and why.

A check runs a path on the model and raises CheckFailed where a rule is broken or a budget exceeded; it prints
one line when all is well.  Random runs draw their seeds from SVMLIB_SEED, which a class keeps secret;
learners have a public one.
"""

import os
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from random import Random
from types import CodeType, MethodType, ModuleType, SimpleNamespace
from typing import Any, NoReturn

from .costs import Bill, bill, prices
from .faults import Fault, Shutdown
from .instructions import Cpu
from .kvm import Exit, PathError, Run, Vcpu, exits, guest, random_exits, run, svm_vcpu_run
from .kvm.host import Host
from .kvm.invariants import left_behind
from .kvm.machine import FUNCTIONS, Machine, functions_of
from .kvm.run import typical_exits
from .progress import begin
from .registers import BY_MSR

__all__ = [
    "CheckFailed",
    "at_most",
    "beats",
    "begin",
    "bills",
    "hint",
    "never_survives",
    "once_a_period",
    "path",
    "restores",
    "survives",
    "survives_random",
    "within_budget",
]

#: Where learners' random runs begin; a class's own seed takes its place when it is graded.
PUBLIC_SEED = "svmlib"
#: Ticks that a path may cost above the reference and still be within its budget: a few loads, no instruction.
SLACK = 25
#: The price list of the budgets.
PRICES = "epyc-2020"

_REFERENCE = "svmlib.paths"
_PACKAGE = str(Path(__file__).parent)
_KINDS = {"kernel": "in-kernel exit", "user": "exit to user space"}

_last: list[str] = []

Function = Callable[[Cpu, Vcpu], None]


class CheckFailed(AssertionError):
    """A check did not hold; the message is what somebody noticed, `hint()` tells the rest."""


def hint() -> None:
    """Print what the last failed check knows: rule, register, value and owner, carrier, the last steps."""
    print(_last[-1] if _last else "No check has failed since the notebook was opened.")


def _fail(symptom: str, more: str = "") -> CheckFailed:
    _last[:] = [more or symptom]
    return CheckFailed(f"{symptom}\nhint() tells more." if more else symptom)


# -- what is checked -----------------------------------------------------------------------------------------


def path(**functions: Function) -> SimpleNamespace:
    """Make a path of functions of yours: check.path(vcpu_enter_exit=..., prepare_switch_to_guest=..., ...).

    A function that is left out does nothing, and vcpu_enter_exit only runs the guest.  CheckFailed where one
    is the reference path's, or calls it, and where no path has a function of that name.
    """
    for name, function in functions.items():
        if name not in FUNCTIONS:
            raise _fail(f"a path has no function {name}; it has {', '.join(FUNCTIONS)}")
        _own(function)
    idle = dict.fromkeys(FUNCTIONS, _nothing) | {"vcpu_enter_exit": svm_vcpu_run}
    return SimpleNamespace(__name__="yours", **(idle | functions))


def _nothing(cpu: Cpu, vcpu: Vcpu) -> None:
    """Leave everything as it is."""


def survives(path: Any, *words: str, host: Host = Host(seed=1)) -> Run:
    """Run `path` through exits written as words (svmlib.kvm.exits); CheckFailed tells what went wrong first.

    Returns the run, whose trace the stepper shows.
    """
    result = _run(path, exits(*words), host)
    instructions = sum(step.times for step in result.trace if step.phase)
    count = _count(len(result.exits), "exit")
    print(f"ok: {count}, {instructions} instructions, nothing of the guest left behind")
    return result


def survives_random(path: Any, *words: str, runs: int = 20, length: int = 25, name: str = "") -> None:
    """Run `path` `runs` times through `length` random exits: NMIs, migrations, more vCPUs, FSGSBASE or not.

    With `words` only such exits are drawn, and each run stays on one CPU.  `name` tells one test's seeds from
    another's.
    """
    random = _random(name)
    for turn in range(runs):
        host = Host(random.getrandbits(32), fsgsbase=turn % 2 == 0, cpus=2 + turn % 3, vcpus=2 + turn % 2)
        if words:
            on = f"@{random.randrange(host.cpus)}"
            through = exits(*(random.choice(words) + on for _ in range(length)))
        else:
            through = random_exits(random.getrandbits(32), length, host)
        _run(path, through, host)
    print(f"ok: {_count(runs, 'run')} of {length} random exits")


def never_survives(path: Any, *words: str, host: Host = Host(seed=1)) -> Run:
    """Run a `path` that has to break, CheckFailed if it does not.  Returns the run with its violation."""
    result = _executed(path, exits(*words), host)
    if result.violation is None:
        raise _fail(f"nothing broke in {' '.join(words)}: the host survived it")
    print(f"it breaks: {result.violation.symptom}")
    return result


def at_most(path: Any, *words: str, host: Host = Host(seed=1), **limits: int) -> None:
    """Run `path` through exits: CheckFailed if one of them executes an instruction more often than allowed.

    at_most(path, "kernel", VMLOAD=1) leaves no VMLOAD but the guest's.
    """
    result = _run(path, exits(*words), host)
    for word, exit_ in zip(words, result.exits, strict=True):
        steps = [step for step in result.steps(exit_) if step.phase]
        for event, limit in limits.items():
            times = sum(step.event == event for step in steps)
            if times > limit:
                why = f"exit {word} executed {event} {times} times; {limit} is what this exercise allows"
                found = [f"  {step}   in {step.phase}" for step in steps if step.event == event]
                raise _fail(why, "\n".join([why, *found]))
    print("ok: " + ", ".join(f"{event} at most {_count(limit, 'time')}" for event, limit in limits.items()))


def restores(
    save: Function,
    restore: Function,
    registers: Sequence[str | int],
    *,
    runs: int = 3,
    host: Host = Host(seed=1),
    name: str = "",
) -> None:
    """Let `save` run, a guest overwrite `registers`, and `restore` run: each has to be the host's again.

    Registers are named, or given by the numbers of their MSRs.  No other one may end up changed.  With `name`
    the hosts are random ones, from the seed of the class.
    """
    random = _random(name) if name else None
    names = [BY_MSR[r].name if isinstance(r, int) else r for r in registers]
    _own(save)
    _own(restore)
    for turn in range(runs):
        seed, cpus = (random.getrandbits(32), 4) if random else (host.seed + turn, host.cpus)
        _restores(save, restore, names, host._replace(seed=seed, cpus=cpus), turn % cpus)
    print(f"ok: {_count(len(names), 'register')} came back, on {_count(runs, 'host')}")


def _restores(save: Function, restore: Function, names: Sequence[str], host: Host, on: int) -> None:
    machine, cpu, vcpu = _scheduled(host, on)
    p = machine.processors[on]
    before = dict(p.regs)
    with _Guard(save, restore):
        save(cpu, vcpu)
        touched = [name for name in before if p.regs[name] != before[name]]
        if not touched:
            thread = machine.threads[0]
            left = dict(zip(guest.REACH, thread.left, strict=True)) | {"TSC_AUX": thread.tsc_aux}
            p.update("guest", "overwrites", None, {name: left[name] for name in names})
            restore(cpu, vcpu)
    if touched:
        raise _fail(f"{_name(save)} changed {touched[0]} while the host was running: saving only reads")
    for name, value in before.items():
        if p.regs[name] != value:
            broken = left_behind(machine, p, name)
            symptom = f"{broken.symptom}\nAfter {_name(restore)} on CPU {on}."
            raise _fail(symptom, f"{broken.detail}\n{_tail(machine.trace.steps, broken.step)}")


def once_a_period(save: Function, event: str) -> None:
    """Let `save` run for two entries of one period: CheckFailed unless the first alone executes `event`."""
    _own(save)
    for on in range(2):
        machine, cpu, vcpu = _scheduled(Host(seed=1), on)
        counts = []
        for _ in range(2):
            first = len(machine.trace)
            with _Guard(save):
                save(cpu, vcpu)
            counts.append(sum(step.event == event for step in machine.trace[first:]))
        if counts[0] != 1:
            raise _fail(
                f"{_name(save)} executed {event} {counts[0]} times for the first entry; once is needed"
            )
        if counts[1]:
            why = (
                "A period lasts until the vCPU is put; vcpu.guest_state_loaded is the flag that remembers it."
            )
            raise _fail(f"The second entry of the same period executed {event} again.", why)
    print(f"ok: one {event} in a period")


def _scheduled(host: Host, on: int) -> tuple[Machine, Cpu, Vcpu]:
    """A machine in whose host the first vCPU's thread has just been put on CPU `on`."""
    machine = Machine(path(), host)
    p, thread = machine.processors[on], machine.threads[0]
    machine._schedule(thread, p)
    object.__setattr__(thread.vcpu, "_processor", p)
    thread.vcpu.cpu = on
    return machine, Cpu(p), thread.vcpu


# -- what it costs -------------------------------------------------------------------------------------------


def bills(path: Any, host: Host = Host(seed=1)) -> dict[str, Bill]:
    """Return the bill of one exit "kernel" and of one exit "user" of `path`, on the budgets' price list."""
    _run(path, exits("user", "kernel", "kernel", "user"), host)
    costs = prices(PRICES)
    return {kind: bill(steps, costs) for kind, steps in typical_exits(path, host).items()}


def within_budget(
    path: Any, reference: Any, slack: int = SLACK, host: Host = Host(seed=1), name: str = ""
) -> None:
    """Compare the bill of `path` with the reference path's: an exit of either kind may cost `slack` more.

    The path has to be correct first.  CheckFailed names the exit and tells both bills.  With `name`
    correctness and bills are taken on random hosts, from the seed of the class.
    """
    for function in functions_of(path).values():
        _own(function)
    on = [host]
    if name:
        survives_random(path, name=name)
        random = _random(f"{name} bills")
        on = [Host(seed=random.getrandbits(32), fsgsbase=turn < 2) for turn in range(3)]
    for one in on:
        _run(path, exits("user", "kernel+nmi", "kernel", "user@1"), one)
        own, other = bills(path, one), bills(reference, one)
        for kind, label in _KINDS.items():
            ticks, allowed = own[kind].nominal, other[kind].nominal + slack
            if not name:
                print(f"{label}: {ticks:.0f} ticks; reference {allowed - slack:.0f}, budget {allowed:.0f}")
            if ticks > allowed:
                more = f"Yours:\n{own[kind]}\n\nThe reference:\n{other[kind]}"
                raise _fail(f"over budget: {ticks:.0f} ticks per {label}, {allowed:.0f} are allowed", more)


def beats(path: Any, reference: Any, points: float) -> float:
    """Return `points` if `path` is correct, cheaper than the reference on one kind of exit, dearer on none.

    Returns 0 otherwise, and prints both bills either way.  A difference counts from `SLACK` ticks on.
    """
    try:
        for function in functions_of(path).values():
            _own(function)
        survives_random(path, name="beats")
        own, other = bills(path), bills(reference)
    except (CheckFailed, PathError) as failed:
        print(f"not correct, so not cheaper: {failed}")
        return 0
    saved = {kind: other[kind].nominal - own[kind].nominal for kind in _KINDS}
    for kind, label in _KINDS.items():
        print(f"{label}: {own[kind].nominal:.0f} ticks, the reference {other[kind].nominal:.0f}")
    won = max(saved.values()) > SLACK and min(saved.values()) >= -SLACK
    print(f"{points if won else 0} of {points} bonus points")
    return points if won else 0


# -- running what a learner wrote ----------------------------------------------------------------------------


def _run(path: Any, through: list[Exit], host: Host) -> Run:
    result = _executed(path, through, host)
    violation = result.violation
    if violation is not None:
        record = result.exits[-1]
        at = Exit(record.kind, record.nmi, record.cpu, record.vcpu)
        symptom = f"{violation.symptom}\nExit {len(result.exits)} of {len(through)}: {at} ({_in_words(at)})."
        raise _fail(symptom, f"{violation.detail}\n{_tail(result.trace.steps, violation.step)}")
    return result


def _executed(path: Any, through: list[Exit], host: Host) -> Run:
    try:
        functions = functions_of(path)
    except PathError as error:
        raise _fail(str(error)) from None
    with _Guard(*functions.values()):
        return run(path, through, host)


class _Guard:
    """Around calls of a learner's functions: what they raise is a failed check, so is what they remember."""

    def __init__(self, *functions: Function):
        self.functions = functions
        self.before = _remembered(functions)

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, CheckFailed):
            _crashed(error)
        after = _remembered(self.functions)
        for name in after:
            if self.before.get(name) != after[name]:
                why = (
                    "The kernel has one copy of this code, which all CPUs run for all vCPUs.\n"
                    "What one call leaves for another belongs in a field of the vCPU: vcpu.host_ldt = ..."
                )
                raise _fail(f"{name} is a Python variable that changed from one call to the next.", why)


def _crashed(error: Exception) -> NoReturn:
    """Tell an exception of a learner's function by the line of theirs where it came up."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(_PACKAGE)]
    at = f"\nIn {frames[-1].name}, line {frames[-1].lineno}: {frames[-1].line}" if frames else ""
    if isinstance(error, NotImplementedError):
        raise _fail(f"Not written yet: NotImplementedError is still raised.{at}") from None
    if isinstance(error, Fault | Shutdown):
        raise _fail(f"The host stopped: {error}{at}") from None
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    raise _fail(f"{type(error).__name__}: {text}{at}") from None


def _own(function: Any) -> None:
    """CheckFailed if `function` is a reference path's own or reaches one."""
    for name, value in _reached(function):
        if _is_reference(value):
            raise _fail(f"{_name(function)} uses {name} of the reference path; the exercise asks for yours")


def _is_reference(value: Any) -> bool:
    if isinstance(value, (SimpleNamespace, Mapping)):
        held = vars(value) if isinstance(value, SimpleNamespace) else value
        return any(
            _is_reference(item) for item in held.values() if callable(item) or hasattr(item, "__name__")
        )
    return f"{getattr(value, '__module__', None) or getattr(value, '__name__', '')}.".startswith(
        f"{_REFERENCE}."
    )


def _remembered(functions: Sequence[Function]) -> dict[str, str]:
    """What the functions could remember in Python, by name: globals, attributes, defaults, closures."""
    found = {}
    for function in functions:
        for name, value in _reached(function):
            if type(value) in _DATA:
                found[name] = repr(value)
            elif not callable(value) or isinstance(value, type):
                held = getattr(value, "__dict__", {}) if not isinstance(value, ModuleType) else {}
                found |= {f"{name}.{k}": repr(v) for k, v in held.items() if type(v) in _DATA}
    return found


_DATA = {int, bool, float, str, bytes, bytearray, type(None), list, tuple, dict, set}


def _reached(function: Any, seen: set[int] | None = None) -> Iterator[tuple[str, Any]]:
    """Yield `function` and all it names outside its arguments, through the functions that it calls."""
    seen = set() if seen is None else seen
    if id(function) in seen:
        return
    seen.add(id(function))
    yield _name(function), function
    if isinstance(function, partial):
        yield from _reached(function.func, seen)
        yield from ((_name(function), item) for item in function.args)
        return
    if isinstance(function, MethodType):
        yield _name(function.__self__), function.__self__
        function = function.__func__
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType) or _is_ours(function):
        return
    outside = [(name, function.__globals__[name]) for name in _names(code) if name in function.__globals__]
    outside += [
        (name, SimpleNamespace(__module__=name)) for name in _names(code) if name.startswith(_REFERENCE)
    ]
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        outside.append((name, cell.cell_contents))
    outside += [(f"a default of {_name(function)}", value) for value in function.__defaults__ or ()]
    outside += vars(function).items()
    for name, value in outside:
        yield name, value
        if hasattr(value, "__code__"):
            yield from _reached(value, seen)


def _is_ours(function: Any) -> bool:
    return str(function.__module__).startswith("svmlib.")


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


# -- words ---------------------------------------------------------------------------------------------------


def _random(name: str) -> Random:
    return Random(f"{os.environ.get('SVMLIB_SEED', PUBLIC_SEED)} {name}")


def _in_words(exit_: Exit) -> str:
    kind = "handled in the kernel" if exit_.kind == "kernel" else "goes to user space"
    nmi = "an NMI waits for STGI, " if exit_.nmi else ""
    return f"{nmi}{kind}, on CPU {exit_.cpu}, vCPU {exit_.vcpu}"


def _tail(steps: Sequence[Any], last: int, count: int = 8) -> str:
    lines = ["The last steps:"]
    for number in range(max(0, last - count + 1), last + 1):
        step = steps[number]
        lines.append(
            f"  {number:4}  {step.side:5}  GIF {step.gif}  {step}"
            + (f"   in {step.phase}" if step.phase else "")
        )
    return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _name(function: Any) -> str:
    name = getattr(function, "__name__", None)
    return str(name or getattr(getattr(function, "func", None), "__name__", type(function).__name__))
