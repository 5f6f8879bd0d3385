"""One program on the model and on each emulator: what each shows where, and which differences are known.

A difference is known when it goes away as one row of data/deviations.csv is taken from an emulator's profile.
What an emulator shows and the model that behaves as it does not is unknown: a mistake of one of the two.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import NamedTuple

from ..data import rows
from ..memory import canonical
from . import bochs, leaks, notation, qemu
from .deviations import DEVIATIONS, profile
from .outcomes import ENTRY, EmulatorError, Outcome, decode, entry
from .programs import OPERANDS, Operation, Program
from .reference import INJECTED, Machine
from .reference import run as run_on_model

ENGINES: dict[str, ModuleType] = {"QEMU": qemu, "Bochs": bochs}
#: An emulator is given up after this many seconds: a program is a few operations.
_TIMEOUT = 20
#: Where something is seen: the number of a line of the program, or a field of the state.
Place = int | str


class Line(NamedTuple):
    """A line of the program as it is shown; `operation` is None where nothing ends there."""

    label: str
    operation: Operation | None


class Column(NamedTuple):
    """The model, or an emulator: what is seen at each place, as text; a line not reached has none."""

    title: str
    profile: str
    seen: Mapping[Place, str]


class Engine(NamedTuple):
    """An emulator beside the model."""

    column: Column
    #: Where it differs from the model's column, and by which rows of data/deviations.csv.
    known: Mapping[Place, Sequence[Mapping[str, str]]]
    #: Where it differs from the model that behaves as it: place -> what that model has there.
    unknown: Mapping[Place, str]


class Comparison(NamedTuple):
    """A program on the model and on each emulator that is here."""

    program: Program
    lines: Sequence[Line]
    #: The fields of the state at the start.
    start: Mapping[Place, str]
    model: Column
    engines: Sequence[Engine]
    #: Emulator -> why it could not be asked, and why it did not come to the program's end.
    missing: Mapping[str, str]
    failed: Mapping[str, str]
    #: Field -> what wrote it last on the model.
    writers: Mapping[str, str]
    #: What a reader should not miss.
    sentences: Sequence[str]

    def shows(self, number: int) -> bool:
        """Whether there is something to read on line `number`; an injected exception is rare."""
        columns = [self.model, *(engine.column for engine in self.engines)]
        return self.lines[number].operation is not INJECTED or any(number in c.seen for c in columns)

    @property
    def explained(self) -> bool:
        """Whether every emulator that is here did what the model says of it."""
        unknown = any(engine.unknown for engine in self.engines)
        return bool(self.engines) and not self.failed and not unknown


def emulate(program: Program, name: str = "documented") -> Comparison:
    """Run `program` on the model, in profile `name`, and on each emulator found."""
    lines = list(_lines(program))
    machine = Machine(profile(name))
    for operation in program:
        machine.execute(operation)
    model = Column(f"model ({name})", name, _on_model(program, lines, name))
    found, missing = _versions()
    engines, failed = [], {}
    with ThreadPoolExecutor(len(ENGINES)) as beside:
        running = {title: beside.submit(ENGINES[title].run, [program], _TIMEOUT) for title in found}
    for title, job in running.items():
        try:
            (outcome,) = job.result()
        except EmulatorError as error:
            failed[title] = str(error)
        else:
            named = f"{title} {found[title]}"
            engines.append(_beside(program, lines, model, named, ENGINES[title].PROFILE, outcome))
    start: Mapping[Place, str] = _state(run_on_model([], profile(name)).state)
    said = leaks.sentences(machine)
    writers = leaks.writers(machine)
    return Comparison(program, lines, start, model, engines, missing, failed, writers, said)


def _versions() -> tuple[dict[str, str], dict[str, str]]:
    """The emulators that are here with their versions, and the others with the reason."""
    found, missing = {}, {}
    for title, runner in ENGINES.items():
        try:
            found[title] = runner.version()
        except EmulatorError as error:
            missing[title] = str(error)
    return found, missing


def _lines(program: Program) -> Iterator[Line]:
    for operation in program:
        label = notation.said(operation)
        if operation[0] == "vmrun":
            yield Line(label, None)
            yield Line("│ exception from EVENTINJ", INJECTED)
            yield from (Line(f"│ {notation.said(inner)}", inner) for inner in operation[2])
            yield Line("└ ends in", operation)
        else:
            yield Line(label, operation)


def _on_model(program: Program, lines: Sequence[Line], name: str, without: str = "") -> dict[Place, str]:
    outcome = run_on_model(program, profile(name, without))
    return _seen(lines, outcome, outcome.done)


def _seen(lines: Sequence[Line], outcome: Outcome, done: Sequence[Operation]) -> dict[Place, str]:
    """What `outcome` shows at each place; `done` are the operations that were executed, in order."""
    seen: dict[Place, str] = {}
    executed = iter(zip(done, ENTRY.iter_unpack(outcome.entries), strict=False))
    current = next(executed, None)
    for number, line in enumerate(lines):
        if current and current[0] is line.operation:
            seen[number] = _gave(current[0], *current[1])
            current = next(executed, None)
    return seen | _state(outcome.state)


#: Operations that give a value which is a number and nothing else.
_READS = {"rdmsr", "rdfsbase", "rdgsbase", "rdtscp", "rdpid", "sldt", "str", "load", "load_gs"} | {
    name for name in OPERANDS if name.startswith("mov_from_")
}


def _gave(operation: Operation, vector: int, code: int, result: int) -> str:
    """An entry in words: what the operation gave, or its fault, and the interrupts taken meanwhile."""
    first, *taken = entry(vector, code, result).split(", ")
    name = operation[1] if operation[0] == "user" else operation[0]
    if "#" not in first and "vector" not in first:
        first = _value(name, result)
    return ", ".join([first, *taken])


def _value(name: str, result: int) -> str:
    if name == "vmrun":
        return notation.exitcode(result)
    if name in ("syscall", "sysret", "iret"):
        return f"CS {result & 0xFFFF:#x} SS {result >> 16 & 0xFFFF:#x} RFLAGS {result >> 32:#x}"
    if name in ("lgdt", "lidt", "sgdt", "sidt"):
        base = canonical(result)
        return f"limit {(result ^ base) >> 48:#x} base {base:#x}"
    return f"{result:#x}" if result or name in _READS else "done"


def _state(state: bytes) -> dict[Place, str]:
    return {
        name: notation.exitcode(value) if name.endswith("[EXITCODE]") and value else f"{value:#x}"
        for name, value in decode(state).items()
    }


def _beside(
    program: Program, lines: Sequence[Line], model: Column, title: str, name: str, outcome: Outcome
) -> Engine:
    """Put an emulator's outcome beside the model's; the model that behaves as it says what was executed."""
    alike = run_on_model(program, profile(name))
    as_it = _seen(lines, alike, alike.done)
    column = Column(title, name, _seen(lines, outcome, alike.done))
    places = dict.fromkeys([*range(len(lines)), *as_it])
    unknown = {p: as_it.get(p, "") for p in places if as_it.get(p) != column.seen.get(p)}
    differ = [p for p in places if model.seen.get(p) != column.seen.get(p)]
    known = _explained(program, lines, (model.profile, name), differ) if differ else {}
    return Engine(column, known, unknown)


def _explained(
    program: Program, lines: Sequence[Line], names: tuple[str, str], differ: Sequence[Place]
) -> dict[Place, list[Mapping[str, str]]]:
    """Place -> the rows of data/deviations.csv without which a profile has something else there."""
    table = {(row["name"], row["engine"]): row for row in rows("deviations")}
    found: dict[Place, list[Mapping[str, str]]] = {place: [] for place in differ}
    whole = {name: _on_model(program, lines, name) for name in names}
    for deviation in DEVIATIONS:
        if deviation.engine in whole:
            without = _on_model(program, lines, deviation.engine, deviation.name)
            for place in differ:
                if without.get(place) != whole[deviation.engine].get(place):
                    found[place].append(table[deviation.name, deviation.engine])
    return found
