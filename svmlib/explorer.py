"""Every order of exits and events within bounds: a path is clean in all, or the shortest that breaks it.

Exits are tried breadth first, so the first rule that breaks is broken by the shortest schedule.  States are
merged between exits only, where all that a path knows is in vCPU fields and modelled memory.  Inside an exit
an event is tried after each instruction at which the machine would take it: the machine is forked there, the
host's handler runs, and the fork is undone.  Where the handler left registers and memory as they were, the
rest of the exit would be what it was; where it did not, or where the event would end the guest's run, the
exit is run again with the event in it.  A counterexample is run again from the boot before anybody sees it.

The module is long: search, forks and confirmation share the machine and its state.
"""

import linecache
import os
import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import suppress
from math import comb
from operator import le
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from .faults import Fault, Runaway, Shutdown
from .instructions import events
from .kvm.exits import ARRIVALS, EXITCODES, MORE_ARRIVALS, Exit
from .kvm.host import Host
from .kvm.machine import Broken, Machine, functions_of, name_of
from .kvm.percpu import is_stack
from .kvm.run import Run, run
from .kvm.snapshot import Snapshot, is_dead, key, restore, snapshot
from .kvm.story import Line, Story, tell
from .kvm.svm_ops import Rebooting
from .memory import DIRECT_MAP
from .processor import Processor
from .trace import Step

#: All that can arrive.
EVENTS = ARRIVALS | MORE_ARRIVALS
#: Instructions after which a search gives up: some minutes.
LIMIT = 500_000_000


class Bounds(NamedTuple):
    """How far an exploration goes."""

    #: Entries of a vCPU from being loaded to being put.
    exits: int = 2
    #: Periods, from loading to putting, of all vCPUs together.
    periods: int = 2
    #: Events that arrive, at any step.
    events: int = 1
    #: How often a vCPU may be loaded on another CPU than before.
    migrations: int = 1

    def __str__(self) -> str:
        """Write them as the command line reads them."""
        return ",".join(f"{name}={value}" for name, value in self._asdict().items())


#: Small bounds, for a check that answers at once.
BOUNDS = Bounds()


class Exploration(NamedTuple):
    """What an exploration found."""

    path: str
    host: Host
    bounds: Bounds
    #: States between exits; schedules that end in one of them (not counting what goes on from a state that is
    #: reached with less of the bounds); instructions that were executed to see them.
    states: int
    schedules: int
    instructions: int
    #: The shortest schedule that breaks a rule, as a run to step through, exits and a story; None without.
    run: Run | None
    exits: tuple[Exit, ...]
    story: Story | None
    #: Why the path's behaviour is not a function of what it was given; "" where it is.
    impure: str
    #: Whether all schedules within the bounds were tried, or as many as it took.
    complete: bool

    @property
    def clean(self) -> bool:
        """Whether all was tried and nothing broke."""
        return self.complete and self.run is None and not self.impure

    def __repr__(self) -> str:
        """Stay short: a notebook shows it below the cell that made it."""
        return f"<Exploration: {str(self).partition(chr(10))[0]}>"

    def __str__(self) -> str:
        """Say the outcome: the count, or the story."""
        if self.impure:
            return self.impure
        if self.story:
            return str(self.story)
        count = f"{self.states:,} states, {self.schedules:,} schedules"
        if not self.complete:
            return f"not complete: stopped after {self.instructions:,} instructions, {count}"
        return f"complete for these bounds: {count}"


class _Node:
    """A state between exits, what of the bounds is used up, and how it was first reached."""

    __slots__ = (
        *("before", "exit", "kept", "state", "ways", "spread", "done"),
        *("left", "periods", "migrations", "entries", "homes"),
    )

    def __init__(self, kept: Snapshot, before: "_Node | None", exit_: Exit | None, left: int):
        self.kept = kept
        self.before = before
        self.exit = exit_
        #: Events that may still come.
        self.left = left
        self.periods = self.migrations = 0
        #: For each vCPU: its entries in the period it is in.
        self.entries: tuple[int, ...] = ()
        #: By number of events used: schedules that end here.
        self.ways: list[int] = []
        #: For each vCPU: the CPU on which it was loaded last.
        self.homes: tuple[int | None, ...] = ()
        #: A hash of the state; whether another node was first reached from here, and whether all exits from
        #: here are tried.
        self.state = 0
        self.spread = self.done = False

    @property
    def exits(self) -> tuple[Exit, ...]:
        """The exits from boot to here."""
        return (*self.before.exits, self.exit) if self.before and self.exit else ()


class _Impure(Exception):
    """The path did not do again what it had done."""


class _Stop(Exception):
    """The search has executed as many instructions as it may."""


class _DeadRead(Exception):
    """The path has read what was taken for dead, so it is part of the state after all."""


class _Found(Exception):
    """A schedule breaks a rule."""

    def __init__(self, exits: tuple[Exit, ...]):
        super().__init__()
        self.exits = exits


class _Event(_Found):
    """A schedule with an event in its last exit breaks a rule."""


Progress = Callable[[int, int, int], None]


def explore(
    path: Any,
    host: Host = Host(),
    bounds: Bounds = BOUNDS,
    *,
    kinds: Sequence[str] = tuple(EXITCODES),
    arrivals: Sequence[str] = tuple(ARRIVALS),
    limit: int = LIMIT,
    progress: Progress | None = None,
) -> Exploration:
    """Try all schedules of `path` on `host` within `bounds`, the shortest first; long by its arguments.

    `kinds` of exits and `arrivals` are the usual ones unless said: nested guests have more, and so has a host
    that reboots (kvm.exits).  `limit` is the number of instructions after which the search gives up;
    `progress` is called with exits, states and depth.  PathError where `path` is no path; what its functions
    raise of their own comes out.
    """
    search = _Search(path, host, bounds, limit, progress)
    search.kinds, search.arrivals = kinds, {name: EVENTS[name] for name in arrivals}
    exits: tuple[Exit, ...] = ()
    impure, complete = "", True
    try:
        search.all()
    except _Found as found:
        exits = found.exits
    except _Impure as why:
        impure = str(why)
    except _Stop:
        complete = False
    result, story = None, None
    if exits:
        result, line = _confirmed(path, exits, host)
        if result.violation:
            story = tell(result, exits, line)
        else:
            words = " ".join(map(str, exits))
            impure = f"{_NOT_A_FUNCTION} {words} broke a rule in the search, and not when run from the boot."
            result = None
    return Exploration(
        name_of(path), host, bounds, search.states, search.schedules(), search.instructions,
        result, exits, story, impure, complete,
    )  # fmt: skip


_NOWHERE = (-1, 0, 0, 0)
_NOT_A_FUNCTION = (
    "This path's behaviour is not a function of what it was given: it knows something from outside vcpu "
    "fields and modelled memory (a global, a closure, time, chance)."
)


class _Search:
    """One exploration: the machine it runs on, and what it has seen."""

    def __init__(self, path: Any, host: Host, bounds: Bounds, limit: int, progress: Progress | None):
        self.machine = Machine(path, host)
        self.host = host
        self.bounds = bounds
        self.limit = limit
        self.progress = progress
        self.kinds: Sequence[str] = ()
        self.arrivals: dict[str, Any] = {}
        self.boot = snapshot(self.machine)
        #: Whether the path's functions are known to do the same with the same, as a grader's are.
        self.sure = all(map(_is_sure, self.machine.functions.values()))
        #: Whether what `snapshot.key` leaves out counts: only once the path has read of it.
        self.dead = False
        #: A state and where each vCPU was loaded last -> what of the bounds was used up -> the node.
        self.seen: dict[Hashable, dict[tuple[int, ...], _Node]] = {}
        self.ways: list[int] = []
        self.tried = self.instructions = self.depth = 0
        #: While an exit runs with forks: events that may still come, those in this fork, those that broke a
        #: rule, those that changed something and how often, how many changed nothing, and whether the
        #: place is passed from which on events wait for VMRUN.
        self.left = 0
        self.chain: tuple[tuple[str, int | None], ...] = ()
        self.broken: tuple[tuple[str, int | None], ...] = ()
        self.changed: dict[tuple[tuple[str, int | None], ...], int] = {}
        self.harmless = 0
        self.waits = False
        #: The last place at which no event did harm: CPU, GIF, shadow, step.
        self.looked = _NOWHERE

    @property
    def states(self) -> int:
        return len(self.seen)

    def schedules(self) -> int:
        return sum(self.ways)

    def all(self) -> None:
        """Search level by level; _Found, _Impure or _Stop end it."""
        try:
            self._levels()
        except _DeadRead:
            self.dead = True
            self.seen.clear()
            self._levels()

    def _levels(self) -> None:
        root = _Node(self.boot, None, None, self.bounds.events)
        root.entries = (0,) * self.host.vcpus
        root.homes = (None,) * self.host.vcpus
        root.ways = [1] + [0] * self.bounds.events
        self.ways = [0] * (self.bounds.events + 1)
        level, self.depth = [root], 0
        while level:
            self.depth += 1
            following = self._next(level)
            for node in level:
                if not node.spread and not self.sure:
                    self._again(node)
            level = following

    def _next(self, level: list[_Node]) -> list[_Node]:
        """Try every exit from every node of `level`, and return the nodes that they lead to."""
        following: list[_Node] = []
        found: _Event | None = None
        for node in level:
            for exit_ in self._choices(node):
                try:
                    after = self._try(node, exit_, following, forks=found is None)
                except _Event as event:
                    # A schedule without an event may still break as early.
                    found = event
                    continue
                self._count(node, after, self.harmless)
                self.tried += 1
                if self.progress:
                    self.progress(self.tried, self.states, self.depth)
            node.done, node.kept = True, self.boot  # nobody needs its pages any more
        if found:
            raise found
        return following

    def _choices(self, node: _Node) -> Iterator[Exit]:
        """Yield the exits that the bounds allow after `node`, the quiet ones first."""
        bounds = self.bounds
        for vcpu in range(self.host.vcpus):
            thread = node.kept.threads[vcpu][0]
            for cpu in range(self.host.cpus):
                stays = thread["in_period"] and thread["cpu"] == cpu
                moves = node.homes[vcpu] not in (None, cpu)
                if stays and node.entries[vcpu] >= bounds.exits:
                    continue
                if not stays and node.periods >= bounds.periods:
                    continue
                if node.migrations + moves > bounds.migrations:
                    continue
                yield from (Exit(kind, cpu=cpu, vcpu=vcpu) for kind in self.kinds)

    # -- one exit

    def _try(self, node: _Node, exit_: Exit, following: list[_Node], *, forks: bool) -> _Node | None:
        """Let `exit_` happen, with `forks` for every event at every instruction; return where it leads."""
        self.left = node.left if forks else 0
        self.chain, self.broken, self.harmless, self.waits, self.changed = (), (), 0, False, {}
        self.looked = _NOWHERE
        processors = self.machine.processors
        for p in processors:
            p.between = self._fork_all if self.left else None
        try:
            steps = self._run(node, exit_)
        finally:
            for p in processors:
                p.between = None
        if self.broken:
            raise _Event((*node.exits, exit_._replace(arrivals=self.broken)))
        after = self._reached(node, exit_, node.left, following)
        for arrivals, times in self.changed.items():
            self._with(node, exit_._replace(arrivals=arrivals), times, following)
        if node.left == self.bounds.events and not self.sure:
            self._twice(node, exit_, steps)
        return after

    def _twice(self, node: _Node, exit_: Exit, steps: list[Step]) -> None:
        """Let `exit_` happen again from the same state: the path has to do the same."""
        with suppress(_Found):
            if self._run(node, exit_) == steps:
                return
        words = " ".join(map(str, (*node.exits, exit_)))
        raise _Impure(f"{_NOT_A_FUNCTION} In {words} it did something else the second time.")

    def _with(self, node: _Node, exit_: Exit, times: int, following: list[_Node]) -> None:
        """Let `exit_` happen with events that change its course; `times` places of theirs do the same."""
        used = len(exit_.arrivals)
        try:
            self._run(node, exit_)
        except _Found as found:
            raise _Event(found.exits) from None
        after = self._reached(node, exit_, node.left - used, following)
        for n in range(len(node.ways) - used):
            self.ways[n + used] += node.ways[n] * times
            if after:
                after.ways[n + used] += node.ways[n] * times

    def _run(self, node: _Node, exit_: Exit) -> list[Step]:
        machine = self.machine
        restore(machine, node.kept)
        fine = machine.step(exit_)
        steps = machine.trace.steps
        self.instructions += len(steps)
        if self.instructions > self.limit:
            raise _Stop
        if not fine:
            raise _Found((*node.exits, exit_))
        if not self.dead:
            addressed = [step for step in steps if step.event in _ADDRESSED and step.phase]
            if any(_reads_dead(node.kept, step.operand) for step in addressed):
                raise _DeadRead
        return steps

    def _reached(self, node: _Node, exit_: Exit, left: int, following: list[_Node]) -> _Node | None:
        """Return the node of the state that the machine is in after `exit_` from `node`.

        None where it is known with less of the bounds used up: whatever can follow here is tried from there.
        """
        kept = snapshot(self.machine, node.kept)
        state = key(kept, dead=self.dead)
        new = _Node(kept, node, exit_, left)
        was = node.kept.threads[exit_.vcpu][0]
        stays = was["in_period"] and was["cpu"] == exit_.cpu
        new.periods = node.periods + (not stays)
        new.migrations = node.migrations + (node.homes[exit_.vcpu] not in (None, exit_.cpu))
        new.homes = tuple(exit_.cpu if v == exit_.vcpu else home for v, home in enumerate(node.homes))
        new.state = hash(state)
        new.entries = tuple(
            (node.entries[v] if v != exit_.vcpu or stays else 0) + (v == exit_.vcpu)
            if kept.threads[v][0]["in_period"]
            else 0
            for v in range(self.host.vcpus)
        )
        spent = (-left, new.periods, new.migrations, *new.entries)
        known = self.seen.setdefault((state, new.homes), {})
        for other, held in known.items():
            if all(map(le, other, spent)):
                return held if other == spent and not held.done else None
        new.ways = [0] * (self.bounds.events + 1)
        known[spent] = new
        following.append(new)
        node.spread = True
        return new

    def _count(self, node: _Node, after: _Node | None, harmless: int) -> None:
        """Add the schedules that end in `after` by way of `node`, with 0, 1, ... of `harmless` events."""
        for used, ways in enumerate(node.ways):
            for more in range(min(node.left, len(node.ways) - 1 - used) + 1):
                count = ways * comb(harmless, more)
                self.ways[used + more] += count
                if after:
                    after.ways[used + more] += count

    # -- events

    def _fork_all(self, p: Processor) -> None:
        """Between two instructions on `p`: fork for each event."""
        if self.broken or p.side == "guest":
            return
        at, harmless = len(self.machine.trace.steps), self.harmless
        if not self.chain and not p.gif and not self._ran():
            # It waits, and will end the guest's run before it begins: as good here as at the next step.
            if not self.waits:
                self.waits = True
                self.changed |= {((name, at),): 0 for name in self.arrivals}
                self.first_wait = at
            for name in self.arrivals:
                self.changed[(name, self.first_wait),] += 1
            return
        if self._as_before(p, at):
            self.harmless += len(self.arrivals)
            return
        for name, event in self.arrivals.items():
            if events.takes(p, event):
                self._fork(p, name, at)
            elif not self.chain:
                self.harmless += 1  # it waits, and is taken where one that comes later is
        if not self.chain:
            quiet = self.harmless - harmless == len(self.arrivals)
            self.looked = (p.index, p.gif, p.shadow, at) if quiet else _NOWHERE

    def _as_before(self, p: Processor, at: int) -> bool:
        """Whether since the last place, where no event did harm, nothing was written: then none does here."""
        index, gif, shadow, since = self.looked
        if self.chain or (index, gif, shadow) != (p.index, p.gif, p.shadow):
            return False
        steps = self.machine.trace.steps[since:at]
        if any(step.names or step.memory for step in steps):
            return False
        self.looked = (index, gif, shadow, at)
        return True

    def _ran(self) -> bool:
        return any(step.event == "VMRUN" for step in reversed(self.machine.trace.steps))

    def _fork(self, p: Processor, name: str, at: int) -> None:
        """Let event `name` be taken on `p` now, see what comes of it, and undo it."""
        machine, chain = self.machine, self.chain
        trace = machine.trace
        before = [(q, q.regs.copy(), q.__dict__.copy(), q.pending[:]) for q in machine.processors]
        kept, phase, limit = dict(machine.kept), trace.phase, trace.limit
        self.chain, self.left = (*chain, (name, at)), self.left - 1
        if not self.left:
            p.between = None
        p.pending.append(self.arrivals[name])
        try:
            events.arrive(p)
        except (Fault, Shutdown, Runaway, Broken, Rebooting):
            self.broken = self.broken or self.chain
        if machine.violation or p.shutdown:
            self.broken = self.broken or self.chain
        if not self.broken:
            if self._different(before, kept, at):
                self.changed[self.chain] = self.changed.get(self.chain, 0) + 1
            elif not chain:
                self.harmless += 1
        self.instructions += len(trace.steps) - at
        self._undo(before, at)
        machine.kept, machine.violation, trace.phase, trace.limit = kept, None, phase, limit
        self.chain, self.left = chain, self.left + 1

    def _different(self, before: list[Any], kept: dict[str, Any], at: int) -> bool:
        """Whether the handler has left anything but what lies on a stack other than it was."""
        if kept != self.machine.kept:
            return True
        for q, regs, rest, pending in before:
            if regs != q.regs or pending != q.pending:
                return True
            if any(q.__dict__[name] != rest[name] for name in _SEEN):
                return True
        return any(
            old != new and (self.dead or not is_stack(pa))
            for step in self.machine.trace.steps[at:]
            for pa, old, new in step.memory
        )

    def _undo(self, before: list[Any], at: int) -> None:
        memory, steps = self.machine.memory, self.machine.trace.steps
        for step in reversed(steps[at:]):
            for pa, old, _ in reversed(step.memory):
                page, offset = memory.page(pa & ~0xFFF), pa & 0xFFF
                page[offset : offset + len(old)] = old
        del steps[at:]
        for q, regs, rest, pending in before:
            q.regs.update(regs)
            q.__dict__.update(rest)
            q.pending[:] = pending

    # -- the same again, from the boot

    def _again(self, node: _Node) -> None:
        """Run the schedule of `node` from the boot: the state has to be the one that was put together."""
        machine = self.machine
        restore(machine, self.boot)
        for exit_ in node.exits:
            if not machine.step(exit_):
                break
        self.instructions += len(machine.trace.steps)
        if machine.violation or hash(key(snapshot(machine, self.boot), dead=self.dead)) != node.state:
            words = " ".join(map(str, node.exits))
            raise _Impure(f"{_NOT_A_FUNCTION} {words} from the boot leads elsewhere than exit by exit.")


def _is_sure(function: Any) -> bool:
    """Whether a path's function cannot do something else the second time: it says so, or is the kernel's."""
    module = str(getattr(function, "__module__", ""))
    return getattr(function, "is_pure", False) is True or module.startswith(("svmlib.kvm.", "svmlib.check"))


#: What of a processor, besides registers, an event could change.
_SEEN = ("gif", "shadow", "nmi_masked", "side", "saved_host")


def _reads_dead(kept: Snapshot, operand: str | int | None) -> bool:
    """Whether a path's operand is an address of what `snapshot.key` leaves out."""
    if isinstance(operand, int):
        pa = operand - DIRECT_MAP if operand >= DIRECT_MAP else operand
        return is_dead(kept, pa) or is_dead(kept, pa + 7)
    return isinstance(operand, str) and operand.startswith("gs:0x")


_ADDRESSED = {"MOV r,m", "VMLOAD", "LGDT", "LIDT"}


def _confirmed(path: Any, exits: tuple[Exit, ...], host: Host) -> tuple[Run, Line | None]:
    """Run `path` through `exits` from the boot; return the run and the path's line that ran last."""
    lines: list[tuple[str, int, str]] = []
    files = {code.co_filename for f in functions_of(path).values() if (code := getattr(f, "__code__", None))}
    before = sys.gettrace()

    def line(frame: FrameType, event: str, argument: object) -> Any:
        if event == "line":
            lines[:] = [(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)]
        return line

    def call(frame: FrameType, event: str, argument: object) -> Any:
        file = frame.f_code.co_filename
        return line if file in files - _CHECKS or _is_path_code(file) else None

    sys.settrace(call)
    try:
        result = run(path, list(exits), host)
    finally:
        sys.settrace(before)
    if not lines:
        return result, None
    ((file, number, function),) = lines
    is_cell = file.startswith("<ipython") or Path(file).parent.name.startswith("ipykernel_")
    name = "its cell" if is_cell else Path(file).name
    return result, Line(name, number, function, linecache.getline(file, number).strip())


_PACKAGE = str(Path(__file__).parent)
_OURS = tuple(str(Path(__file__).parent / part) for part in ("paths", "kvm/bugs"))
_PYTHON = str(Path(os.__file__).parent)
#: What wraps a learner's function in a check, or stands in for one that is left out.
_CHECKS = {str(Path(__file__).parent / name) for name in ("watch.py", "check.py")}
_GRADER = f"{os.sep}autograder{os.sep}"


def _is_path_code(file: str) -> bool:
    """Whether a line of `file` is a path's own: a learner's, or one of the designs on record."""
    if file.startswith(_OURS):
        return True
    # Where a path is judged its functions run elsewhere, and what stands for them here is not its code.
    return not (file.startswith((_PACKAGE, _PYTHON, "<frozen", "<string>")) or _GRADER in file)
