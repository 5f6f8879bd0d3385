"""The command `emulate`: one program on the model, on QEMU and on Bochs, side by side.

Printed is what each operation gave, then the state it left.  A difference is marked, and named where
data/deviations.csv knows it; one that it does not know makes the exit status 1.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from textwrap import fill
from typing import Any

from ..profiles import PROFILES
from . import layout as at
from . import notation
from .comparison import Comparison, Engine, Place, emulate
from .programs import CHOICES, OPERANDS, ProgramError, text

# -- As JSON


def as_json(found: Comparison) -> dict[str, Any]:
    """The comparison as plain data, whole: every operation, every field, every difference."""
    columns = {"model": found.model} | {engine.column.profile: engine.column for engine in found.engines}
    return {
        "program": text(found.program),
        "columns": {
            name: {"title": column.title, "profile": column.profile} for name, column in columns.items()
        },
        "missing": dict(found.missing),
        "failed": dict(found.failed),
        "operations": [
            {"line": line.label} | {name: column.seen.get(n) for name, column in columns.items()}
            for n, line in enumerate(found.lines)
            if found.shows(n)
        ],
        "state": {
            str(field): {"start": at_start, "written_by": found.writers.get(str(field))}
            | {name: column.seen.get(field) for name, column in columns.items()}
            for field, at_start in found.start.items()
        },
        "differences": {
            engine.column.profile: [
                {
                    "where": _where(found, place),
                    "deviations": [row["name"] for row in engine.known.get(place, ())],
                    "explained": place not in engine.unknown,
                }
                for place in {**engine.known, **engine.unknown}
            ]
            for engine in found.engines
        },
        "sentences": list(found.sentences),
        "explained": found.explained,
    }


def _where(found: Comparison, place: Place) -> str:
    if isinstance(place, str):
        return place
    operation = found.lines[place].operation
    return notation.said(operation) if operation else found.lines[place].label


# -- As text

_RED, _DIM, _BOLD, _PLAIN = "\033[31m", "\033[2m", "\033[1m", "\033[0m"
_WIDTH = 100
#: Marks behind a value: an emulator has something else than the model's column; and nobody knows why.
_DIFFERS, _UNKNOWN = "≠", "≠?"
#: More fields of a page than these are one row, where one instruction wrote them and all agree.
_FOLDED = 4


def as_text(found: Comparison, *, everything: bool = False, colour: bool = False) -> str:
    """The comparison as two tables and what is to be said; ModuleNotFoundError where tabulate is missing."""
    columns = [found.model.title, *(engine.column.title for engine in found.engines)]
    operations = [
        [line.label, *(_cells(found, n, colour) if line.operation else [])]
        for n, line in enumerate(found.lines)
        if found.shows(n)
    ]
    fields = list(_fields(found, everything, colour))
    title = "The state at the end" if everything else "The state that changed"
    parts = [_table(["operation", *columns], operations)]
    if fields:
        parts.append(f"{title}\n{_table(['field', 'at the start', *columns, 'last written by'], fields)}")
    parts += [fill(sentence, _WIDTH) for sentence in found.sentences]
    parts += [said for engine in found.engines if (said := _differences(found, engine, colour))]
    return "\n\n".join([*parts, _verdict(found)])


def _fields(found: Comparison, everything: bool, colour: bool) -> Iterator[list[str]]:
    """The rows of the state; what one instruction stored to a page is one row where all agree."""
    shown = [field for field in found.start if everything or _changed(found, field)]
    differ = {place for engine in found.engines for place in (*engine.known, *engine.unknown)}
    for (page, writer), group in groupby(shown, lambda field: _page_and_writer(found, field)):
        fields = list(group)
        alike = page and not differ.intersection(fields)
        if alike and len(fields) > _FOLDED and not everything:
            yield [f"{page}[{len(fields)} fields]", *[""] * (2 + len(found.engines)), writer]
            continue
        for field in fields:
            at_start = _paint(found.start[field], _DIM, colour)
            yield [str(field), at_start, *_cells(found, field, colour), writer]


def _page_and_writer(found: Comparison, field: Place) -> tuple[str, str]:
    page, bracket, _ = str(field).partition("[")
    return page if bracket else "", found.writers.get(str(field), "")


def _table(headers: list[str], cells: list[list[str]]) -> str:
    try:
        from tabulate import tabulate
    except ModuleNotFoundError:
        why = "the tables need the package tabulate, which is missing; pip install tabulate, or use --json"
        raise ModuleNotFoundError(why) from None
    drawn: str = tabulate(cells, headers=headers, disable_numparse=True)
    return "\n".join(line.rstrip() for line in drawn.splitlines())


def _paint(word: str, how: str, colour: bool) -> str:
    return f"{how}{word}{_PLAIN}" if colour and word else word


def _changed(found: Comparison, field: Place) -> bool:
    columns = [found.model, *(engine.column for engine in found.engines)]
    return any(column.seen[field] != found.start[field] for column in columns)


def _cells(found: Comparison, place: Place, colour: bool) -> list[str]:
    """What each column has at a place, differences marked by a sign and by colour."""
    cells = [found.model.seen.get(place, "not reached")]
    for engine in found.engines:
        value = engine.column.seen.get(place, "not reached")
        mark = _UNKNOWN if place in engine.unknown else _DIFFERS if place in engine.known else ""
        cells.append(_paint(f"{value} {mark}", _RED, colour) if mark else value)
    return cells


def _differences(found: Comparison, engine: Engine, colour: bool) -> str:
    """An emulator's differences, those together that have the same reason."""
    groups: dict[tuple[int, ...], list[Place]] = {}
    row_of = {id(row): row for reasons in engine.known.values() for row in reasons}
    for place, reasons in engine.known.items():
        if place not in engine.unknown:
            groups.setdefault(tuple(map(id, reasons)), []).append(place)
    lines = []
    for ids, places in groups.items():
        where = f"{_DIFFERS} {', '.join(_where(found, place) for place in places)}"
        lines.append(fill(where, _WIDTH, subsequent_indent="  "))
        said = [_reason(row_of[one], engine) for one in ids] or [
            "several rows of data/deviations.csv together"
        ]
        lines += [fill(one, _WIDTH, initial_indent="    ", subsequent_indent="    ") for one in said]
    for place, ours in engine.unknown.items():
        theirs = engine.column.seen.get(place, "not reached")
        lines.append(
            f"{_UNKNOWN} {_where(found, place)}: {theirs}, and the model as {engine.column.profile} has "
            f"{ours or 'not reached'}"
        )
    title = _paint(f"{engine.column.title} against {found.model.title}", _BOLD, colour)
    return "\n".join([title, *lines]) if lines else ""


def _reason(row: Mapping[str, str], engine: Engine) -> str:
    """A row of data/deviations.csv as sentences."""
    who = engine.column.title if row["engine"] == engine.column.profile else row["engine"]
    reason = row["reason"][:1].upper() + row["reason"][1:]
    return f"{row['name']}: {who} {row['emulator']}. The model: {row['model']}. {reason}."


def _verdict(found: Comparison) -> str:
    if found.failed:
        return f"{' and '.join(found.failed)} did not come to the program's end."
    if not found.engines:
        return "Compared with nothing: no emulator is here."
    if not found.explained:
        return (
            f"Not explained ({_UNKNOWN}): a mistake of the model, or a deviation without a row in "
            "svmlib/data/deviations.csv."
        )
    if any(engine.known for engine in found.engines):
        return f"Each difference ({_DIFFERS}) is a known one: svmlib/data/deviations.csv."
    first, *others = (engine.column.title for engine in found.engines)
    return f"The model, {first} and {others[0]} agree." if others else f"The model and {first} agree."


# -- The command

_HELP = """\
A program is a list of operations in a file, - for standard input:

  ("vmsave", HOST),                     HOST GUEST SPARE VMCB: the machine's pages
  ("wrmsr", LSTAR, 1 << 47),            an MSR by name
  ("store", linear(VMCB.ASID), 0, 4),   a field of a page; loads and stores take linear addresses
  ("user", "swapgs"),                   at CPL 3
  ("sti_clgi",),                        STI and, in its shadow, CLGI; sti_cli and sti_vmmcall alike
  ("intr",), ("nmi",),                  the CPU sends itself interrupt 0x40, or an NMI
  ("vmrun", VMCB, [("swapgs",)]),       a guest; it leaves with VMMCALL

operations:
{operations}

{choices}

selectors (mov_to_sreg, lldt, ltr; with the ring in their two low bits):
{selectors}

exit status: 0 where the model says what each emulator does, 1 where not, or where nothing was compared.

examples:
  python -m svmlib emulate --example > leak.txt    a program to start from
  python -m svmlib emulate leak.txt
  python -m svmlib emulate leak.txt --all          every field, not only those that changed
  python -m svmlib emulate leak.txt --profile qemu72
"""


def command(commands: Any) -> None:
    """Add `emulate` to the command line."""
    operations = "; ".join(
        " ".join([name, *(kind.replace(" ", "-") for kind in kinds)]) for name, kinds in OPERANDS.items()
    )
    choices = [f"  {kind.replace(' ', '-')}: {', '.join(map(str, CHOICES[kind]))}" for kind in CHOICES]
    parser = commands.add_parser(
        "emulate",
        help="one program on the model, on QEMU and on Bochs, side by side",
        description=__doc__,
        epilog=_HELP.format(
            operations=fill(
                operations, _WIDTH, break_on_hyphens=False, initial_indent="  ", subsequent_indent="  "
            ),
            choices="\n".join(choices),
            selectors="\n".join(f"  {selector:#04x}  {what}" for selector, what, _ in at.DESCRIPTORS),
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("program", metavar="PROGRAM", nargs="?", help="a file, or -")
    parser.add_argument("--example", action="store_true", help="print a program to start from")
    parser.add_argument(
        "--profile",
        choices=list(PROFILES),
        default="documented",
        help="how the model behaves (default: documented)",
    )
    parser.add_argument("--all", action="store_true", help="show all fields, not only those that changed")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_main, error=parser.error)


def _main(arguments: argparse.Namespace) -> int:
    if arguments.example:
        print(notation.EXAMPLE, end="")
        return 0
    if arguments.program is None:
        arguments.error("which program? Name a file, or -; --example prints one to start from")
    try:
        program = notation.program(_text(arguments.program))
    except (ProgramError, OSError, UnicodeDecodeError) as error:
        print(f"{arguments.program}: {_why(error)}", file=sys.stderr)
        return 2
    found = emulate(program, arguments.profile)
    if arguments.json:
        print(json.dumps(as_json(found), ensure_ascii=False, indent=2))
    else:
        print(as_text(found, everything=arguments.all, colour=_colour()))
    for title, why in {**found.missing, **found.failed}.items():
        print(f"{title}: {why}", file=sys.stderr)
    return 0 if found.explained else 1


def _text(name: str) -> str:
    return sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")


def _why(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file; python -m svmlib emulate --example prints a program to start from"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return "this is no text in UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)


def _colour() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ
