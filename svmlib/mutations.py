"""Every instruction of the Linux designs left out, done twice, or exchanged with the next: who would notice?

A mutation is broken if the explorer finds a schedule that breaks it.  The others are equivalent, or only
slower; data/mutations.csv lists them with the reason.  An exchange whose second instruction needs what the
first reads is no other program, and is not counted.

    python -m svmlib mutations --run

takes some minutes.  Exit status 1 says that what was found is not what the table has.  A long module: the
changed path, the outcome and the table belong together.
"""

import argparse
import csv
import io
import json
import operator
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

from .data import rows
from .explore import find
from .explorer import Bounds, explore
from .kvm.exits import exits
from .kvm.hosts import host
from .kvm.machine import FUNCTIONS, Machine
from .registers import MSR

#: The designs whose instructions are changed one by one.
DESIGNS = (
    "legacy", "hybrid", "vmload_before_stgi.v2", "vmload_before_stgi.v3", "vmload_before_stgi",
    "vmload_before_stgi.since_2023", "lazy", "lazy.with_wrmsr", "upstream", "upstream_6_1",
    "upstream.since_2025",
)  # fmt: skip
KINDS = ("left out", "twice", "exchanged")
#: Both ways of the NMI's entry and of a null selector; a thread with segments and an LDT, and one without.
HOSTS = (host("zen1-fsgsbase", seed=10, vcpus=1), host("zen2+fsgsbase", seed=2, vcpus=1))
_OLD, _NEW = HOSTS
#: Where each is looked at and how far, what is quick first: periods and a migration, then an event anywhere.
LOOKS = (
    (_OLD, Bounds(exits=2, periods=2, events=0, migrations=1)),
    (_NEW._replace(cpus=1), Bounds(exits=2, periods=2, events=0, migrations=0)),
    (_OLD._replace(cpus=1), Bounds(exits=2, periods=1, events=1, migrations=0)),
    (_NEW._replace(cpus=1), Bounds(exits=2, periods=1, events=1, migrations=0)),
)
#: What is left out may be a CPU's own page: two vCPUs, each loaded on a CPU at the same time.
BOTH = (_OLD._replace(vcpus=2), Bounds(exits=2, periods=2, events=0, migrations=0))
_FUNCTIONS = (*FUNCTIONS, "on_user_return")
#: Instructions that give back a value, which is all they do.
READS = frozenset(
    {"rdmsr", "rdfsbase", "rdgsbase", "mov_from_sreg", "sldt", "str", "load", "load_gs", "load_fs", "xgetbv",
     "rdpkru", "rdtscp", "rdpid", "mov_from_cr", "mov_from_dr", "lsl"}
)  # fmt: skip

#: What spares work where it is done already: without it that is done again.
GUARDS = frozenset(
    {"load vcpu.guest_state_loaded", "store vcpu.guest_state_loaded", "load_gs gs:user_return_curr",
     "load_gs gs:user_return_registered"}
)  # fmt: skip


class Mutation(NamedTuple):
    """A change of one instruction, or of two neighbours, of a function of a design."""

    design: str
    function: str
    kind: str
    #: The instruction's number in a call of the function, from 0.
    place: int


class Outcome(NamedTuple):
    """What became of a mutation."""

    mutation: Mutation
    #: What was changed: "wrmsr LSTAR".
    instruction: str
    #: "broken", "equivalent", "slower", or "no other program".
    outcome: str
    #: The schedule that breaks it and the symptom, or why nothing does.
    why: str


# -- a path with one instruction changed


class _Later:
    """What a read will give that has not happened yet; whoever needs the number makes it happen."""

    def __init__(self, read: Callable[[], Any]):
        self._read, self._done, self._value = read, False, None

    def force(self) -> Any:
        if not self._done:
            self._value, self._done = self._read(), True
        return self._value

    def __bool__(self) -> bool:
        return bool(self.force())

    def __index__(self) -> int:
        return int(self.force())

    def __iter__(self) -> Iterator[Any]:
        return iter(self.force())

    def __getitem__(self, key: Any) -> Any:
        return self.force()[key]

    def __contains__(self, item: object) -> bool:
        return item in self.force()

    def __len__(self) -> int:
        return len(self.force())

    def __eq__(self, other: object) -> bool:
        return bool(self.force() == now(other))

    def __hash__(self) -> int:
        return hash(self.force())


def _lazily(do: Callable[[Any, Any], Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def forwards(self: _Later, other: Any) -> _Later:
        return _Later(lambda: do(self.force(), now(other)))

    def backwards(self: _Later, other: Any) -> _Later:
        return _Later(lambda: do(now(other), self.force()))

    return forwards, backwards


for _name in ("add", "sub", "mul", "and", "or", "xor", "lshift", "rshift"):
    _do = getattr(operator, f"__{_name}__")
    _forwards, _backwards = _lazily(_do)
    setattr(_Later, f"__{_name}__", _forwards)
    setattr(_Later, f"__r{_name}__", _backwards)


def now(value: Any) -> Any:
    """Return `value`, read by now if it was not yet."""
    if isinstance(value, _Later):
        return value.force()
    if isinstance(value, (list, tuple)):
        return type(value)(now(item) for item in value)
    return value


class _Call:
    """One call of a function in which an instruction is changed."""

    def __init__(self, kind: str, place: int):
        self.kind, self.place = kind, place
        self.count = -1
        self.what: list[str] = []
        #: The first of two that are exchanged, until the second is done; whether they were.
        self.held: Callable[[], Any] | None = None
        self.exchanged = False

    def issue(self, what: str, do: Callable[[], Any], *, reads: bool, default: Any = 0) -> Any:
        self.count += 1
        at = self.count - self.place
        if at == 0 or (at == 1 and self.kind == "exchanged"):
            self.what.append(what)
        if at == 0 and self.kind == "left out":
            return default
        if at == 0 and self.kind == "twice":
            do()
        if at == 0 and self.kind == "exchanged":
            if reads:
                later = _Later(self._due(do))
                self.held = later.force
                return later
            self.held = do
            return None
        result = do()
        if at == 1 and self.held:
            held, self.held, self.exchanged = self.held, None, True
            held()
        return result

    def _due(self, do: Callable[[], Any]) -> Callable[[], Any]:
        def read() -> Any:
            self.held = None
            return do()

        return read

    def end(self) -> None:
        """At the function's end nothing is left undone."""
        if self.held:
            held, self.held = self.held, None
            held()


class _Cpu:
    """The instructions of a Cpu, each by way of a _Call."""

    def __init__(self, cpu: Any, call: _Call):
        self._cpu, self._call, self._processor = cpu, call, cpu._processor

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def issue(*operands: Any) -> Any:
            what = _label(self._cpu, name, operands)
            return self._call.issue(
                what, lambda: getattr(self._cpu, name)(*map(now, operands)), reads=name in READS
            )

        return issue


class _Vcpu:
    """The fields of a Vcpu, each access by way of a _Call."""

    def __init__(self, vcpu: Any, call: _Call):
        object.__setattr__(self, "_vcpu", vcpu)
        object.__setattr__(self, "_call", call)

    def __getattr__(self, name: str) -> Any:
        vcpu = self._vcpu
        if name == "_fields":
            return vcpu._fields
        if name not in vcpu._fields:
            return getattr(vcpu, name)
        value = vcpu._fields[name]
        empty = type(value)() if isinstance(value, (int, tuple)) else 0
        return self._call.issue(f"load vcpu.{name}", lambda: getattr(vcpu, name), reads=True, default=empty)

    def __setattr__(self, name: str, value: Any) -> None:
        self._call.issue(f"store vcpu.{name}", lambda: setattr(self._vcpu, name, now(value)), reads=False)


def _label(cpu: Any, name: str, operands: Sequence[Any]) -> str:
    """Name an instruction: the MSR, the selector's register, what lies at an address."""
    first = operands[0] if operands else ""
    if name in ("rdmsr", "wrmsr") and isinstance(first, int):
        return f"{name} {next((n for n, number in vars(MSR).items() if number == first), first)}"
    if name in ("mov_from_sreg", "mov_to_sreg"):
        return f"{name} {first}"
    if name in ("load", "store") and isinstance(first, int):
        return f"{name} {cpu._processor.symbols.get(first, 'memory')}"
    if name in ("load_gs", "store_gs") and isinstance(first, int):
        return f"{name} {cpu._processor.symbols.get(-first - 1, 'memory')}"
    return name


def mutated(mutation: Mutation) -> tuple[SimpleNamespace, list[_Call]]:
    """Return the design with that instruction changed, and a list of the last calls of the function."""
    path = find(mutation.design)
    calls: list[_Call] = []
    names = (*_FUNCTIONS, "CARRIES")
    taken = {name: getattr(path, name) for name in names if hasattr(path, name)}
    original = taken[mutation.function]

    def function(cpu: Any, vcpu: Any) -> None:
        call = _Call(mutation.kind, mutation.place)
        calls[:] = [*calls[-7:], call]
        original(_Cpu(cpu, call), _Vcpu(vcpu, call))
        call.end()

    return SimpleNamespace(__name__="mutated", **taken | {mutation.function: function}), calls


def instructions(design: str, function: str) -> int:
    """Return how many instructions the longest call of a design's function has, on any of HOSTS."""
    longest = 0
    for kind in HOSTS:
        path, calls = mutated(Mutation(design, function, "", -9))
        machine = Machine(path, kind)
        for exit_ in exits("kernel", "kernel", "user", "user@1"):
            machine.step(exit_)
            longest = max([longest, *(call.count + 1 for call in calls)])
    return longest


def mutations(designs: Sequence[str] = DESIGNS) -> list[Mutation]:
    """Return all mutations of `designs`."""
    found = []
    for design in designs:
        for function in _FUNCTIONS:
            if hasattr(find(design), function):
                count = instructions(design, function)
                for kind in KINDS:
                    places = range(count - (kind == "exchanged"))
                    found += [Mutation(design, function, kind, place) for place in places]
    return found


def outcome(mutation: Mutation) -> Outcome:
    """Explore a mutation on all of HOSTS, until it breaks."""
    path, calls = mutated(mutation)
    what: list[str] = []
    exchanged = False
    for kind, bounds in (*LOOKS, BOTH) if mutation.kind == "left out" else LOOKS:
        try:
            found = explore(path, kind, bounds)
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            # Its own code stumbles over what it was not given: that is noticed, too.
            return Outcome(mutation, "; ".join(_what(calls)), "broken", f"{type(error).__name__}: {error}")
        what = what or _what(calls)
        exchanged = exchanged or any(call.exchanged for call in calls)
        if found.story:
            words = " ".join(map(str, found.exits))
            return Outcome(mutation, "; ".join(what), "broken", f"{words}: {found.story.symptom}")
        if found.impure:
            return Outcome(mutation, "; ".join(what), "broken", found.impure)
    if mutation.kind == "exchanged" and not exchanged:
        return Outcome(mutation, "; ".join(what), "no other program", "the second needs what the first reads")
    left_out = mutation.kind == "left out" and GUARDS.issuperset(what)
    better = "slower" if mutation.kind == "twice" or left_out else "equivalent"
    return Outcome(mutation, "; ".join(what), better, reason(mutation.kind, what))


def _what(calls: Sequence[_Call]) -> list[str]:
    return max((call.what for call in calls), key=len, default=[])


def reason(kind: str, what: Sequence[str]) -> str:
    """Say why nobody notices, where the instructions tell; "" where it has to be thought about."""
    reads = [one.split()[0] in READS for one in what]
    if kind == "twice" and what:
        return "it reads the same again" if reads[0] else "it writes the same again"
    if kind == "exchanged" and all(reads):
        return "both only read"
    if kind == "exchanged" and any(reads):
        return "one only reads, and not what the other writes"
    if kind == "exchanged" and {"cli", "sti"} & set(what):
        return "IF matters at VMRUN and at STGI, and neither comes between"
    if kind == "exchanged" and all(one.startswith(("wrmsr", "store")) for one in what):
        return "they write different places"
    return ""


def recorded() -> dict[Mutation, Outcome]:
    """Return what data/mutations.csv says: the mutations that nothing breaks."""
    found = {}
    for row in rows("mutations"):
        one = Mutation(row["design"], row["function"], row["mutation"], int(row["place"]))
        found[one] = Outcome(one, row["instruction"], row["outcome"], row["reason"])
    return found


def agrees(found: Outcome) -> bool:
    """Whether an outcome is what the table has: listed there, or broken, or no other program."""
    known = recorded().get(found.mutation)
    if known is None:
        return found.outcome in ("broken", "no other program")
    return (found.instruction, found.outcome) == (known.instruction, known.outcome)


# -- the command

_EXAMPLES = """\
examples:
  python -m svmlib mutations                            what the table has, counted, and the reasons
  python -m svmlib mutations --run --design lazy        explore them anew
  python -m svmlib mutations --run --csv                the table, as data/mutations.csv has it
"""


def command(commands: Any) -> None:
    """Add `mutations` to the command line."""
    parser = commands.add_parser(
        "mutations",
        help="every instruction left out, done twice, exchanged: what is not noticed, and why",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--run", dest="anew", action="store_true", help="explore them anew")
    parser.add_argument("--design", action="append", choices=DESIGNS, metavar="NAME", help="only these")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print as data/mutations.csv has it")
    parser.set_defaults(run=_main)


def _main(arguments: argparse.Namespace) -> int:
    names = tuple(arguments.design or DESIGNS)
    if arguments.anew:
        found = [outcome(one) for one in _watched(mutations(names))]
    else:
        found = [one for one in recorded().values() if one.mutation.design in names]
    if arguments.json:
        plain = [one.mutation._asdict() | one._asdict() | {"mutation": one.mutation.kind} for one in found]
        print(json.dumps(plain, ensure_ascii=False, indent=2))
    elif arguments.csv:
        print(as_csv(found), end="")
    else:
        print(as_text(found, names))
    wrong = [one for one in found if not agrees(one)]
    for one in wrong if not arguments.csv else ():
        print(
            f"data/mutations.csv has otherwise: {one.mutation} {one.instruction}: {one.outcome}",
            file=sys.stderr,
        )
    return 1 if wrong and not arguments.csv else 0


def _watched(todo: Sequence[Mutation]) -> Iterator[Mutation]:
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        return iter(todo)
    return iter(tqdm(todo, unit="mutation", disable=None, leave=False))


def as_csv(found: Sequence[Outcome]) -> str:
    """Write what nothing breaks as data/mutations.csv; a reason that is known stays."""
    known = recorded()
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["design", "function", "mutation", "place", "instruction", "outcome", "reason", "source"])
    for one in found:
        if one.outcome in ("equivalent", "slower"):
            held = known.get(one.mutation)
            why = held.why if held and held.instruction == one.instruction else one.why
            design, function, kind, place = one.mutation
            writer.writerow([design, function, kind, place, one.instruction, one.outcome, why, "explored"])
    return out.getvalue()


def as_text(found: Sequence[Outcome], names: Sequence[str]) -> str:
    """Count outcomes by design, then list what was left out or exchanged and nobody noticed."""
    counts = {name: Counter(one.outcome for one in found if one.mutation.design == name) for name in names}
    order = ("broken", "equivalent", "slower", "no other program")
    shown = [one for one in order if any(count[one] for count in counts.values())]
    width = max(map(len, names))
    lines = [f"{'':{width}}  {'  '.join(f'{one:>10}' for one in shown)}"]
    lines += [
        f"{name:{width}}  {'  '.join(f'{count[one]:>10}' for one in shown)}" for name, count in counts.items()
    ]
    lines.append("")
    for one in found:
        if one.outcome == "equivalent":
            design, function, kind, _ = one.mutation
            lines.append(f"{design}.{function}: {one.instruction} {kind}: {one.why}")
    return "\n".join(lines)
