"""What an exercise asserts: a failed check says what somebody noticed, hint() which register, whose, and why.

A check runs a path on the model and raises CheckFailed where a rule is broken or a budget exceeded; it prints
one line when all is well.  Random runs draw their seeds from SVMLIB_SEED, which a class keeps secret;
learners have a public one.  A long module: everything that a notebook calls is found in it.
"""

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from .costs import Bill, bill, prices
from .instructions import Cpu
from .kvm import Exit, PathError, Run, Vcpu, exits, guest, random_exits, random_host, run, svm_vcpu_run
from .kvm.host import Host
from .kvm.invariants import Violation, left_behind
from .kvm.machine import FUNCTIONS, Machine, functions_of
from .kvm.run import TYPICAL, typical_exits, typical_steps
from .progress import begin
from .registers import BY_MSR, carried_by
from .trace import Trace
from .watch import CheckFailed, Function, Watch, failure, hint, name_of, require_own

if TYPE_CHECKING:
    from .explorer import Exploration

__all__ = [
    "CheckFailed",
    "at_most",
    "beats",
    "begin",
    "bills",
    "explored",
    "explored_random",
    "hint",
    "is_safe",
    "kills",
    "never_survives",
    "once_a_period",
    "path",
    "restores",
    "shorter_window",
    "survives",
    "survives_each",
    "survives_random",
    "within_budget",
]

#: Where learners' random runs begin; a class's own seed takes its place when it is graded.
PUBLIC_SEED = "svmlib"
#: Ticks that a path may cost above the reference and still be within its budget: a few loads, no instruction.
SLACK = 25
#: The bounds of a check that answers at once, and the instructions after which it gives up.
SMALL = (
    {"exits": 2, "periods": 1, "events": 1, "migrations": 0},
    {"exits": 2, "periods": 2, "events": 0, "migrations": 1},
)
LIMIT = 250_000
#: Random runs of a check, fewer where only a bill waits for them, and the exits of each: two runs in
#: five find the mistake of the sample class that is found least (benchmarks/random_runs.py).
RUNS, FEW_RUNS, LENGTH = 10, 6, 25
#: The price list of the budgets.
PRICES = "epyc-2020"
#: Longest line of a hint.
WIDTH = 110

_KINDS = {"kernel": "in-kernel exit", "user": "exit to user space"}


# -- what is checked -----------------------------------------------------------------------------------------


def path(*, carries: Sequence[str] = (), **functions: Function) -> SimpleNamespace:
    """Make a path of functions of yours: check.path(vcpu_enter_exit=..., prepare_switch_to_guest=..., ...).

    A function that is left out does nothing, and vcpu_enter_exit only runs the guest.  `carries` names
    registers that the path swaps itself, where KVM's other code would.  CheckFailed where a function is the
    reference path's, or calls it, and where no path has a function of that name.
    """
    for name, function in functions.items():
        if name not in FUNCTIONS:
            raise failure(f"a path has no function {name}; it has {', '.join(FUNCTIONS)}")
        require_own(function)
    idle = dict.fromkeys(FUNCTIONS, _nothing) | {"vcpu_enter_exit": svm_vcpu_run}
    own = SimpleNamespace(__name__="yours", **(idle | functions))
    if carries:
        own.CARRIES = tuple(carries)
    return own


def _nothing(cpu: Cpu, vcpu: Vcpu) -> None:
    """Leave everything as it is."""


def survives(path: Any, *words: str, host: Host = Host(seed=1)) -> Run:
    """Run `path` through exits written as words (svmlib.kvm.exits); CheckFailed tells what went wrong first.

    Returns the run, whose trace the stepper shows.
    """
    result = _run(path, _read(words), host)
    instructions = sum(step.times for step in result.trace if step.phase)
    count = _count(len(result.exits), "exit")
    print(f"ok: {count}, {instructions} instructions, nothing of the guest left behind")
    return result


def survives_each(path: Any, words: Sequence[str], host: Host = Host(seed=1)) -> None:
    """Run `path` once for each of `words`: one exit on a freshly booted host; otherwise as `survives`."""
    for word in words:
        _run(path, _read([word]), host)
    print(f"ok: {_count(len(words), 'run')} of one exit each")


def survives_random(path: Any, *words: str, runs: int = RUNS, length: int = LENGTH, name: str = "") -> None:
    """Run `path` `runs` times through `length` random exits: NMIs, migrations, more vCPUs, FSGSBASE or not.

    With `words` only such exits are drawn, and each run stays on one CPU.  `name` tells one test's seeds from
    another's.
    """
    random = _random(name)
    for turn in range(runs):
        host = random_host(random, turn)
        if words:
            on = f"@{random.randrange(host.cpus)}"
            through = exits(*(random.choice(words) + on for _ in range(length)))
        else:
            through = random_exits(random.getrandbits(32), length, host)
        _run(path, through, host)
    print(f"ok: {_count(runs, 'run')} of {length} random exits")


def never_survives(path: Any, *words: str, host: Host = Host(seed=1)) -> Run:
    """Run a `path` that has to break, CheckFailed if it does not.  Returns the run with its violation."""
    through = _read(words)
    result, _ = _executed(path, through, host)
    if result.violation is None:
        raise failure(f"nothing broke in {' '.join(map(str, through))}: the host survived it")
    print(f"it breaks: {result.violation.symptom}")
    return result


def kills(path: Any, *words: str | Sequence[str], host: Host = Host(seed=1)) -> Run:
    """Run a `path` through exits that have to kill it, events and their steps among them; CheckFailed if not.

    "kernel+nmi.17" lets an NMI come when 17 steps of that exit are done; a list stands for the words in it.
    Returns the run.
    """
    through = _read(words)
    result, _ = _executed(path, through, host)
    if result.violation is None:
        raise failure(f"the host survived {' '.join(map(str, through))}; {_what_came(result)}")
    print(f"it dies: {result.violation.symptom}")
    return result


def _what_came(result: Run, most: int = 4) -> str:
    """Say after which steps of a run events were taken, and which of them its exits were too short for."""
    steps = result.trace.steps
    taken = [
        f"{step.event} after step {k - 1}, {steps[k - 1].event}"
        for k, step in enumerate(steps)
        if step.event in ("NMI", "#MC", "INTR")
    ]
    late = [
        f"exit {number} has {one.last - one.first} steps, so step {at} never came"
        for number, one in enumerate(result.exits, 1)
        for _, at in one.arrivals
        if at is not None and at > one.last - one.first
    ]
    said = (
        [f"what arrived was taken: {', '.join(taken[:most])}{', …' * (len(taken) > most)}"] if taken else []
    )
    if any(name == "SMI" for one in result.exits for name, _ in one.arrivals):
        said.append("an SMI passes the host's kernel by")
    return "; ".join([*said, *late[:most]]) or "nothing arrived"


# -- every order of exits and events


def explored(path: Any, host: Host = Host(seed=1), **bounds: int) -> "Exploration":
    """Explore `path` within small bounds: CheckFailed with the shortest schedule that breaks it.

    `bounds` are those of svmlib.explorer.Bounds; without any, one vCPU is tried in one period of two entries
    with an event anywhere, then in two periods with a migration.  Gives up after LIMIT instructions.
    """
    tried = _explorations(path, host, bounds)
    found = tried[-1]
    if found.story is not None:
        violation = found.run.violation if found.run else None
        words = " ".join(map(str, found.exits))
        line = [f"In {found.story.line.function}: {found.story.line.text}"] if found.story.line else []
        symptom = "\n".join([found.story.symptom, f"The shortest way there: {words}", *line])
        tail = _tail(found.run.trace, violation.step) if found.run and violation else ""
        raise failure(symptom, f"{found.story}\n{tail}")
    if found.impure:
        raise failure(found.impure)
    states, schedules = sum(one.states for one in tried), sum(one.schedules for one in tried)
    print(f"ok: {states:,} states, {schedules:,} schedules, nothing broke")
    return found


def explored_random(path: Any, name: str, hosts: int = 2, **bounds: int) -> None:
    """Explore `path` on hosts drawn from the seed of the class, with and without FSGSBASE in use in turn."""
    random = _random(name)
    for turn in range(hosts):
        explored(path, Host(random.getrandbits(32), fsgsbase=turn % 2 == 0, vcpus=1), **bounds)


def is_safe(path: Any, host: Host = Host(seed=1), **bounds: int) -> bool:
    """Whether nothing breaks `path` on `host` within `bounds`, as `explored` has them; prints nothing."""
    return _explorations(path, host, bounds)[-1].clean


def shorter_window(path: Any, reference: Any, points: float) -> float:
    """Return `points` if nothing breaks `path` and its vcpu_enter_exit has fewer steps than `reference`.

    Only a window that would win is explored.
    """
    for function in functions_of(path).values():
        require_own(function)
    broken = "something breaks it, so its window does not count; check.explored(path) tells what"
    try:
        _run(path, exits(*TYPICAL), Host())
    except CheckFailed:
        print(broken)
        return 0
    own, other = (
        sum(step.phase == "vcpu_enter_exit" for step in typical_exits(one)["kernel"])
        for one in (path, reference)
    )
    won = points if own < other else 0
    if won and not all(is_safe(path, Host(seed=1, fsgsbase=fsgsbase)) for fsgsbase in (True, False)):
        print(broken)
        return 0
    print(f"{own} steps from CLGI to STGI, the reference {other}: {won} of {points} points")
    return won


def _explorations(path: Any, host: Host, bounds: Mapping[str, int]) -> "list[Exploration]":
    """Explore within `bounds`, or the small ones; the last of the list is the first that is not clean."""
    try:
        functions = functions_of(path)
    except PathError as error:
        raise failure(str(error)) from None
    # Here, not above: where submissions run, the explorer is not there, and the other checks are.
    from .explorer import Bounds, explore

    found: list[Exploration] = []
    host = host if bounds else host._replace(vcpus=1)
    with Watch(*functions.values()):
        for one in [bounds] if bounds else SMALL:
            found.append(explore(path, host, Bounds(**one), limit=LIMIT))
            if not found[-1].clean:
                break
    if not found[-1].complete:
        print(f"not all was tried: {found[-1]}")
    return found


def at_most(path: Any, *words: str, host: Host = Host(seed=1), **limits: int) -> None:
    """Run `path` through exits: CheckFailed if one of them executes an instruction more often than allowed.

    at_most(path, "kernel", VMLOAD=1) leaves no VMLOAD but the guest's.
    """
    through = _read(words)
    result = _run(path, through, host)
    for word, exit_ in zip(through, result.exits, strict=True):
        steps = [step for step in result.steps(exit_) if step.phase]
        for event, limit in limits.items():
            times = sum(step.event == event for step in steps)
            if times > limit:
                why = f"exit {word} executed {event} {times} times; {limit} is what this exercise allows"
                found = [f"  {step}   in {step.phase}" for step in steps if step.event == event]
                raise failure(why, "\n".join([why, *found]))
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
    require_own(save)
    require_own(restore)
    for turn in range(runs):
        seed, cpus = (random.getrandbits(32), 4) if random else (host.seed + turn, host.cpus)
        _restores(save, restore, names, host._replace(seed=seed, cpus=cpus), turn % cpus)
    print(f"ok: {_count(len(names), 'register')} came back, on {_count(runs, 'host')}")


def _restores(save: Function, restore: Function, names: Sequence[str], host: Host, on: int) -> None:
    machine, cpu, vcpu = _scheduled(host, on)
    p = machine.processors[on]
    before = dict(p.regs)
    with Watch(save, restore):
        save(cpu, vcpu)
        touched = [name for name in before if p.regs[name] != before[name]]
        if not touched:
            thread = machine.threads[0]
            left = dict(zip(guest.REACH, thread.left, strict=True)) | {"TSC_AUX": thread.tsc_aux}
            p.update("guest", "overwrites", None, {name: left[name] for name in names})
            restore(cpu, vcpu)
    if touched:
        raise failure(f"{name_of(save)} changed {touched[0]} while the host was running: saving only reads")
    for name, value in before.items():
        if p.regs[name] != value:
            broken = left_behind(machine, p, name)
            symptom = f"{broken.symptom}\nAfter {name_of(restore)} on CPU {on}."
            raise failure(symptom, f"{broken.detail}\n{_tail(machine.trace, broken.step)}")


def once_a_period(save: Function, event: str) -> None:
    """Let `save` run for two entries of one period: CheckFailed unless the first alone executes `event`."""
    require_own(save)
    for on in range(2):
        machine, cpu, vcpu = _scheduled(Host(seed=1), on)
        counts = []
        for _ in range(2):
            first = len(machine.trace)
            with Watch(save):
                save(cpu, vcpu)
            counts.append(sum(step.event == event for step in machine.trace[first:]))
        if counts[0] != 1:
            raise failure(
                f"{name_of(save)} executed {event} {counts[0]} times for the first entry; once is needed"
            )
        if counts[1]:
            why = (
                "A period lasts until the vCPU is put; vcpu.guest_state_loaded is the flag that remembers it."
            )
            raise failure(f"The second entry of the same period executed {event} again.", why)
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
    result = _run(path, exits(*TYPICAL), host)
    costs = prices(PRICES)
    return {kind: bill(steps, costs) for kind, steps in typical_steps(result).items()}


def _reference_bills(path: Any, host: Host = Host(seed=1)) -> dict[str, Bill]:
    """`bills` of a reference, which is the same for every answer that is compared with it."""
    return _known_bills(tuple(functions_of(path).items()), tuple(getattr(path, "CARRIES", ())), host)


@lru_cache(maxsize=64)
def _known_bills(
    functions: tuple[tuple[str, Function], ...], carries: tuple[str, ...], host: Host
) -> dict[str, Bill]:
    return bills(SimpleNamespace(CARRIES=carries, **dict(functions)), host)


def within_budget(
    path: Any, reference: Any, slack: int = SLACK, host: Host = Host(seed=1), name: str = ""
) -> None:
    """Compare the bill of `path` with the reference path's: an exit of either kind may cost `slack` more.

    The path has to be correct first.  CheckFailed names the exit and tells both bills.  With `name`
    correctness and bills are taken on random hosts, from the seed of the class.
    """
    for function in functions_of(path).values():
        require_own(function)
    on = [host]
    if name:
        survives_random(path, runs=FEW_RUNS, name=name)
        random = _random(f"{name} bills")
        on = [Host(seed=random.getrandbits(32), fsgsbase=turn < 2) for turn in range(3)]
    for one in on:
        _run(path, exits("user", "kernel+nmi", "kernel", "user@1"), one)
        own, other = bills(path, one), _reference_bills(reference, one)
        for kind, label in _KINDS.items():
            ticks, allowed = own[kind].nominal, other[kind].nominal + slack
            if not name:
                print(f"{label}: {ticks:.0f} ticks; reference {allowed - slack:.0f}, budget {allowed:.0f}")
            if ticks > allowed:
                more = _compared(own[kind], other[kind])
                raise failure(f"over budget: {ticks:.0f} ticks per {label}, {allowed:.0f} are allowed", more)


def _compared(own: Bill, other: Bill) -> str:
    """Say what is more often or less often on one bill than on the other."""
    lines = ["Yours against the reference:"]
    for event in dict.fromkeys([*own.events, *other.events]):
        times, usual = own.events[event], other.events[event]
        if times != usual:
            ticks = own.prices.total({event: times - usual}).nominal
            lines.append(f"  {event:16} {times:3} times instead of {usual:3}: {ticks:+6.0f} ticks")
    return "\n".join([*lines, "check.bills(path) has the bills in full."])


def beats(path: Any, reference: Any, points: float) -> float:
    """Return `points` if `path` is correct, cheaper than the reference on one kind of exit, dearer on none.

    Returns 0 otherwise, and prints both bills.  A difference counts from `SLACK` ticks on.  Random exits are
    for a path whose bill would win; the others' are not worth the time.
    """
    try:
        for function in functions_of(path).values():
            require_own(function)
        own, other = bills(path), _reference_bills(reference)
        saved = {kind: other[kind].nominal - own[kind].nominal for kind in _KINDS}
        for kind, label in _KINDS.items():
            print(f"{label}: {own[kind].nominal:.0f} ticks, the reference {other[kind].nominal:.0f}")
        won = max(saved.values()) > SLACK and min(saved.values()) >= -SLACK
        if won:
            survives_random(path, runs=FEW_RUNS, name="beats")
    except (CheckFailed, PathError) as failed:
        print(f"not correct, so not cheaper: {failed}")
        return 0
    print(f"{points if won else 0} of {points} bonus points")
    return points if won else 0


# -- running what a learner wrote ----------------------------------------------------------------------------


def _read(words: Sequence[Any]) -> list[Exit]:
    """Read exits; CheckFailed where one cannot be read, or there is none.  A list stands for its words."""
    flat = [one for word in words for one in (word if isinstance(word, list | tuple) else [word])]
    if not flat:
        raise failure('no exit is given; write one or more, as in ["kernel", "user+nmi@1"]')
    try:
        return exits(*flat)
    except ValueError as error:
        raise failure(str(error)) from None


def _run(path: Any, through: list[Exit], host: Host) -> Run:
    result, line = _executed(path, through, host)
    if result.violation is not None:
        more = [result.violation.detail]
        if foreign := _not_the_hosts(result.trace, result.violation):
            more.append(f"Not the host's at that moment: {', '.join(foreign)}.")
        symptom = "\n".join([result.violation.symptom, _where(result, through), *line])
        raise failure(symptom, "\n".join([*more, _tail(result.trace, result.violation.step)]))
    return result


def _where(result: Run, through: list[Exit]) -> str:
    """Say at which exit, and at which end of it, the violation was noticed."""
    record, violation = result.exits[-1], result.violation
    exit_ = Exit(record.kind, record.nmi, record.cpu, record.vcpu, record.arrivals)
    nmi = "an NMI waits for STGI, " if exit_.nmi else ""
    kind = "handled in the kernel" if exit_.kind == "kernel" else "goes to user space"
    words = f"{nmi}{kind}, CPU {exit_.cpu}, vCPU {exit_.vcpu}"
    where = f"Exit {len(result.exits)} of {len(through)}: {exit_} ({words})"
    if violation and violation.invariant == "host_state":
        where += f"; noticed when a vCPU was put on CPU {violation.cpu}"
    return f"{where}."


def _not_the_hosts(trace: Trace, violation: Violation) -> list[str]:
    """Name the registers of VMSAVE's set that were not the host's, where the violation itself names none."""
    if violation.register:
        return []
    held = trace.state(violation.step, violation.cpu)
    of = {name: trace.owner(violation.step, name, held[name], violation.cpu) for name in carried_by("VMSAVE")}
    return list(dict.fromkeys(name.split(".")[0] for name, owner in of.items() if owner != "host"))


def _executed(path: Any, through: list[Exit], host: Host) -> tuple[Run, list[str]]:
    """Run `path`; with the run comes the learner's line at which the machine stopped, if it did there."""
    try:
        functions = functions_of(path)
    except PathError as error:
        raise failure(str(error)) from None
    with Watch(*functions.values()) as guard:
        watched = {name: guard.watch(function) for name, function in functions.items()}
        result = run(SimpleNamespace(CARRIES=getattr(path, "CARRIES", ()), **watched), through, host)
    return result, guard.line


# -- words ---------------------------------------------------------------------------------------------------


def _random(name: str) -> Random:
    return Random(f"{os.environ.get('SVMLIB_SEED', PUBLIC_SEED)} {name}")


def _tail(trace: Trace, last: int, count: int = 8) -> str:
    lines = ["The last steps:"]
    for number in range(max(0, last - count + 1), last + 1):
        step = trace[number]
        line = f"  {number:4}  {step.side:5}  GIF {step.gif}  {step}"
        line += f"   in {step.phase}" if step.phase else ""
        lines.append(line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…")
    return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
