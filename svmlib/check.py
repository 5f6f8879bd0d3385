"""What an exercise asserts: a failed check says what somebody noticed, and hint() says which register, whose, and why.

A check runs a path on the model and raises CheckFailed where a rule is broken or a budget exceeded; it prints one line
when all is well.  Random runs draw their seeds from SVMLIB_SEED, which a class keeps secret; learners have a public one.
"""

import os
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from types import SimpleNamespace
from typing import Any

from .costs import Bill, bill, prices
from .faults import Fault, Shutdown
from .instructions import Cpu
from .kvm import Exit, Host, PathError, Run, Vcpu, exits, guest, random_exits, run, svm_vcpu_run
from .kvm.machine import FUNCTIONS, Machine
from .kvm.run import typical_exits
from .progress import begin

__all__ = [
    "CheckFailed",
    "beats",
    "begin",
    "bills",
    "hint",
    "never_survives",
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

_last: list[str] = []


class CheckFailed(AssertionError):
    """A check did not hold; the message is what somebody noticed, `hint()` tells the rest."""


def hint() -> None:
    """Print what the last failed check knows: the rule, the register, its value and owner, the carrier, the last steps."""
    print(_last[-1] if _last else "No check has failed since the notebook was opened.")


def _fail(symptom: str, more: str = "") -> CheckFailed:
    _last[:] = [more or symptom]
    return CheckFailed(f"{symptom}\nhint() tells more." if more else symptom)


def path(**functions: Callable[[Cpu, Vcpu], None]) -> SimpleNamespace:
    """Make a path of functions of yours: check.path(vcpu_enter_exit=..., prepare_switch_to_guest=..., ...).

    A function that is left out does nothing, and vcpu_enter_exit only runs the guest.  CheckFailed where one is the
    reference path's own or no path has a function of that name.
    """
    for name, function in functions.items():
        if name not in FUNCTIONS:
            raise _fail(f"a path has no function {name}; it has {', '.join(FUNCTIONS)}")
        if str(getattr(function, "__module__", "")).startswith("svmlib.paths"):
            raise _fail(f"{name} is the reference path's own function; the exercise asks for yours")
    idle = dict.fromkeys(FUNCTIONS, _nothing) | {"vcpu_enter_exit": svm_vcpu_run}
    return SimpleNamespace(__name__="yours", **(idle | functions))


def _nothing(cpu: Cpu, vcpu: Vcpu) -> None:
    """Leave everything as it is."""


def survives(path: Any, *words: str, host: Host = Host(seed=1)) -> Run:
    """Run `path` through exits written as words (svmlib.kvm.exits); CheckFailed tells what went wrong first.

    Returns the run, whose trace the stepper shows.
    """
    result = _run(path, exits(*words), host)
    print(
        f"ok: {_count(len(result.exits), 'exit')}, {_instructions(result)} instructions, nothing of the guest left behind"
    )
    return result


def survives_random(path: Any, runs: int = 20, length: int = 25, name: str = "") -> None:
    """Run `path` `runs` times through `length` random exits each: NMIs, migrations, two vCPUs, with and without FSGSBASE.

    `name` tells one test's seeds from another's.
    """
    random = Random(f"{os.environ.get('SVMLIB_SEED', PUBLIC_SEED)} {name}")
    for turn in range(runs):
        host = Host(seed=random.getrandbits(32), fsgsbase=turn % 2 == 0)
        _run(path, random_exits(random.getrandbits(32), length, host), host)
    print(f"ok: {runs} runs of {length} random exits")


def never_survives(path: Any, *words: str, host: Host = Host(seed=1)) -> Run:
    """Run a `path` that has to break: CheckFailed if it does not.  Returns the run, whose violation says how."""
    result = _executed(path, exits(*words), host)
    if result.violation is None:
        raise _fail(f"nothing broke in {' '.join(words)}: the host survived it")
    print(f"it breaks: {result.violation.symptom}")
    return result


def restores(
    save: Callable[[Cpu, Vcpu], None],
    restore: Callable[[Cpu, Vcpu], None],
    registers: Sequence[str],
    *,
    runs: int = 3,
    host: Host = Host(seed=1),
    name: str = "",
) -> None:
    """Let `save` run in the host, a guest overwrite `registers`, and `restore` run: each has to be the host's again.

    No other register may end up changed.  With `name` the hosts are random ones, from the seed of the class.
    """
    random = Random(f"{os.environ.get('SVMLIB_SEED', PUBLIC_SEED)} {name}") if name else None
    for turn in range(runs):
        seed = random.getrandbits(32) if random else host.seed + turn
        _restores(save, restore, registers, host._replace(seed=seed), turn % host.cpus)
    print(f"ok: {_count(len(registers), 'register')} came back, on {_count(runs, 'host')}")


def _restores(
    save: Callable[[Cpu, Vcpu], None],
    restore: Callable[[Cpu, Vcpu], None],
    registers: Sequence[str],
    host: Host,
    on: int,
) -> None:
    machine = Machine(path(), host)
    p, thread = machine.processors[on], machine.threads[0]
    machine._schedule(thread, p)
    object.__setattr__(thread.vcpu, "_processor", p)
    thread.vcpu.cpu = on
    before = dict(p.regs)
    _guarded(save, "save", Cpu(p), thread.vcpu)
    if touched := [name for name in before if p.regs[name] != before[name]]:
        raise _fail(f"{_name(save)} changed {touched[0]}; saving only reads")
    left = dict(zip(guest.REACH, thread.left, strict=True)) | {"TSC_AUX": thread.tsc_aux}
    p.update("guest", "overwrites", None, {name: left[name] for name in registers})
    _guarded(restore, "restore", Cpu(p), thread.vcpu)
    for name, value in before.items():
        if p.regs[name] != value:
            whose = "the guest's" if p.regs[name] == left.get(name) else "neither the guest's nor the host's"
            symptom = (
                f"{name} did not come back: it holds {p.regs[name]:#x}, {whose}; the host had {value:#x}"
            )
            raise _fail(symptom, f"{symptom}\n{_tail(machine.trace.steps, len(machine.trace) - 1)}")


def _guarded(function: Callable[[Cpu, Vcpu], None], role: str, cpu: Cpu, vcpu: Vcpu) -> None:
    try:
        function(cpu, vcpu)
    except (Fault, Shutdown) as stop:
        raise _fail(f"{_name(function)} died while it had to {role}: {stop}") from None


def bills(path: Any, host: Host = Host(seed=1)) -> dict[str, Bill]:
    """Return the bill of one exit "kernel" and of one exit "user" of `path`, on the price list of the budgets."""
    costs = prices(PRICES)
    return {
        kind: bill([s for s in steps if s.phase], costs) for kind, steps in typical_exits(path, host).items()
    }


def within_budget(path: Any, reference: Any, slack: int = SLACK) -> None:
    """Compare the bill of `path` with the reference path's: `slack` ticks above it are allowed, per exit of either kind.

    The path has to be correct first.  CheckFailed names the exit, both bills, and what is dearest.
    """
    _run(path, exits("user", "kernel+nmi", "kernel", "user@1"), Host(seed=1))
    own, other = bills(path), bills(reference)
    for kind, label in _KINDS.items():
        ticks, allowed = own[kind].nominal, other[kind].nominal + slack
        print(
            f"{label}: {ticks:.0f} ticks; the reference {other[kind].nominal:.0f}, the budget {allowed:.0f}"
        )
        if ticks > allowed:
            more = f"Yours:\n{own[kind]}\n\nThe reference:\n{other[kind]}"
            raise _fail(f"over budget: {ticks:.0f} ticks per {label}, {allowed:.0f} are allowed", more)


_KINDS = {"kernel": "in-kernel exit", "user": "exit to user space"}


def beats(path: Any, reference: Any, points: float) -> float:
    """Return `points` if `path` is correct and cheaper than the reference on one kind of exit and no dearer on the other.

    Returns 0 otherwise, and prints both bills either way.  Cheaper means by more than `SLACK` ticks.
    """
    try:
        survives_random(path, runs=6, name="beats")
        own, other = bills(path), bills(reference)
    except CheckFailed as failed:
        print(f"not correct, so not cheaper: {failed}")
        return 0
    saved = {kind: other[kind].nominal - own[kind].nominal for kind in _KINDS}
    for kind, label in _KINDS.items():
        print(f"{label}: {own[kind].nominal:.0f} ticks, the reference {other[kind].nominal:.0f}")
    won = max(saved.values()) > SLACK and min(saved.values()) >= 0
    print(f"{points if won else 0} of {points} bonus points")
    return points if won else 0


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
        return run(path, through, host)
    except NotImplementedError:
        raise _fail("a function of the path is not written yet: it raises NotImplementedError") from None
    except PathError as error:
        raise _fail(str(error)) from None


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


def _instructions(result: Run) -> int:
    return sum(step.times for step in result.trace if step.phase)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", None) or (
        function.func.__name__ if isinstance(function, partial) else "it"
    )
