"""Differential fuzzing: random programs on an emulator and on the model; a difference is cut short.

    python -m svmlib fuzz --engine qemu --sequences 3000 --length 30 --seed 1

Exit status 0 says that there was no difference, 1 that there was one, 2 that an emulator could not be used.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Protocol

from ..faults import AddressError
from . import bochs, qemu
from .deviations import profile
from .generator import Generator
from .outcomes import Difference, EmulatorError, Outcome, differences
from .programs import Operation, Program, length, text
from .reference import Profile
from .reference import run as run_on_model

#: Programs in one round: generated, run and compared before the next.
_ROUND = 1_500
_ROUNDS_OF_SHRINKING = 40


class Engine(Protocol):
    """What a runner module offers."""

    PROFILE: str

    def run(self, programs: Sequence[Program], timeout: float = ...) -> list[Outcome]:
        """Run programs."""
        ...


ENGINES: dict[str, ModuleType] = {"qemu": qemu, "bochs": bochs}


class Finding(NamedTuple):
    """A program on which engine and model differ, and where."""

    program: Program
    differences: list[Difference]


class Report(NamedTuple):
    """What a run came to."""

    sequences: int
    operations: int
    switches: int
    seconds: float
    findings: list[Finding]


def compare(engine: Engine, programs: Sequence[Program], behaviour: Profile | None = None) -> list[Finding]:
    """Run `programs` on `engine` and on the model with its profile; return those that differ."""
    behaviour = behaviour or profile(engine.PROFILE)
    with ThreadPoolExecutor(1) as beside:  # the emulator is a process of its own: both at a time
        running = beside.submit(engine.run, programs)
        ours = [run_on_model(program, behaviour) for program in programs]
        theirs = running.result()
    compared = (
        Finding(program, differences(program, our, their))
        for program, our, their in zip(programs, ours, theirs, strict=True)
    )
    return [finding for finding in compared if finding.differences]


def shrink(engine: Engine, finding: Finding, behaviour: Profile | None = None) -> Finding:
    """Leave operations out as long as what remains still differs; each round of attempts is one boot."""
    for _ in range(_ROUNDS_OF_SHRINKING):
        attempts = sorted((p for p in _shorter(finding.program) if _runs(p, behaviour, engine)), key=length)
        try:
            left = compare(engine, attempts, behaviour) if attempts else []
        except EmulatorError:  # what remains of a program can be one that no emulator survives
            break
        if not left:
            break
        finding = left[0]
    return finding


def _runs(program: Program, behaviour: Profile | None, engine: Engine) -> bool:
    """Whether the model has the memory that the program looks at; a part of a program can be a wild one."""
    try:
        run_on_model(program, behaviour or profile(engine.PROFILE))
    except AddressError:
        return False
    return True


def _shorter(program: Program) -> Iterable[Program]:
    """The program without each of its halves, quarters, … single operations, in the guests too."""
    program = list(program)
    size = len(program)
    while size:
        for start in range(0, len(program), size):
            yield program[:start] + program[start + size :]
        size //= 2
    for index, operation in enumerate(program):
        if operation[0] == "vmrun":
            for guest in _shorter(operation[2]):
                yield [*program[:index], (*operation[:2], list(guest)), *program[index + 1 :]]
        elif operation[0] == "user":
            yield [*program[:index], operation[1:], *program[index + 1 :]]


def fuzz(
    engine: Engine,
    generator: Generator,
    sequences: int,
    size: int,
    behaviour: Profile | None = None,
    progress: Callable[[int], object] = lambda programs: None,
) -> Report:
    """Compare `sequences` programs of `size` operations; an interrupt ends it early, report and all."""
    start = time.monotonic()
    findings: list[Finding] = []
    done = operations = switches = 0
    try:
        while done < sequences:
            programs = [generator.program(size) for _ in range(min(_ROUND, sequences - done))]
            findings += compare(engine, programs, behaviour)
            done += len(programs)
            operations += sum(map(length, programs))
            switches += sum(_is_switch(operation) for program in programs for operation in program)
            progress(len(programs))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
    return Report(done, operations, switches, time.monotonic() - start, findings)


def _is_switch(operation: Operation) -> bool:
    return str(operation[0]) == "vmrun"


def show(finding: Finding, engine: str) -> str:
    """A finding as text: the program, and what differs."""
    lines = [f"  {line}" for line in _lines(finding, engine)]
    return "\n".join([f"model and {engine} differ:", text(finding.program, "    "), *lines])


def _lines(finding: Finding, engine: str) -> list[str]:
    """The first differences in words."""
    return [
        f"{'at the end' if step is None else f'operation {step}'}: {what}: model {left}, {engine} {right}"
        for step, what, left, right in finding.differences[:8]
    ]


def command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `fuzz` to the command line."""
    parser = commands.add_parser(
        "fuzz", help="compare the model with an emulator on random programs", description=__doc__
    )
    add_arguments(parser)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fuzz` to `parser`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--engine", choices=[*ENGINES, "both"], default="both", help="default: both")
    parser.add_argument("--sequences", type=_some, default=1000, help="how many programs (default: 1000)")
    parser.add_argument("--length", type=_some, default=30, help="operations a program (default: 30)")
    parser.add_argument("--seed", type=int, default=1, help="of the random programs (default: 1)")
    parser.add_argument("--vmrun", type=float, default=0.05, help="share of world switches (default: 0.05)")
    parser.add_argument(
        "--keep",
        type=Path,
        metavar="FILE",
        help="write the first program that differs here, for `emulate FILE`",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def _some(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} compares nothing: write 1 or more")
    return number


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command; 1 when there was a difference, 2 when an emulator could not be run."""
    from tqdm import tqdm

    reports: list[dict[str, Any]] = []
    names = list(ENGINES) if arguments.engine == "both" else [arguments.engine]
    found = 0
    for name in names:
        engine = ENGINES[name]
        generator = Generator(arguments.seed, vmrun=arguments.vmrun)
        try:
            # No bar where nobody watches: disable=None is tqdm's word for that.
            with tqdm(total=arguments.sequences, desc=name, unit="program", disable=None) as bar:
                report = fuzz(engine, generator, arguments.sequences, arguments.length, progress=bar.update)
            shortest = [shrink(engine, finding) for finding in report.findings[:3]]
            for finding in () if arguments.json else shortest:
                print(show(finding, name))
            if shortest and arguments.keep and not found:
                arguments.keep.write_text(f"[\n{text(shortest[0].program, '    ')}\n]\n", encoding="utf-8")
                print(
                    f"the first is in {arguments.keep}: python -m svmlib emulate {arguments.keep}",
                    file=sys.stderr,
                )
        except EmulatorError as error:
            print(error, file=sys.stderr)
            return 2
        reports.append(as_json(name, report, shortest))
        if not arguments.json:
            print(_summary(name, report))
        found += len(report.findings)
    if arguments.json:
        print(json.dumps(reports, indent=2))
    return 1 if found else 0


def as_json(engine: str, report: Report, shortest: Sequence[Finding]) -> dict[str, Any]:
    """A run for a machine: the counts, and the first programs that differ, as `emulate` reads them."""
    return report._asdict() | {
        "engine": engine,
        "findings": len(report.findings),
        "shortest": [{"program": text(one.program), "differences": _lines(one, engine)} for one in shortest],
    }


def _summary(engine: str, report: Report) -> str:
    rate = report.operations / max(report.seconds, 0.001)
    return (
        f"{engine}: {report.sequences} programs, {report.operations} operations, {report.switches} VMRUNs "
        f"compared in {report.seconds:.1f} s ({rate:,.0f}/s): {len(report.findings)} differ"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run `fuzz` with the arguments `argv`."""
    parser = argparse.ArgumentParser(prog="python -m svmlib fuzz", description=__doc__)
    add_arguments(parser)
    return run(parser.parse_args(argv))
