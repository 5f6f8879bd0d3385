"""Every design on every kind of host: safe, or what breaks it first.

The table is data/matrix.csv, which a test holds; --run explores it all anew, which takes a minute or two.
Exit status 1 says that what was found is not what the table has.
"""

import argparse
import csv
import io
import json
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from .data import rows
from .explore import find
from .explorer import Bounds, Exploration, explore
from .kvm import Host
from .kvm.exits import ARRIVALS
from .kvm.hosts import HOSTS

#: The hosts of the matrix: AMD's generations with and without FSGSBASE in use, 32-bit, SEV-ES, and the rest.
COLUMNS = tuple(HOSTS)
#: Bounds for one vCPU: an event anywhere in one period; then periods and a migration.
ONE = (Bounds(exits=2, periods=1, events=1, migrations=0), Bounds(exits=2, periods=2, events=0, migrations=1))
#: Bounds for an SEV-ES guest and an ordinary one, which preempt each other.
TWO = (Bounds(exits=1, periods=1, events=1, migrations=0), Bounds(exits=1, periods=2, events=0, migrations=1))
SEED = 1
#: Longest line of the table.
WIDTH = 110
#: Events that a host does not survive in its own code, whatever the path: between SWAPGS and SYSRET a machine
#: check of NetBSD's, which takes the entry of every trap, finds the user's GS base (data/kernels.csv).
LEFT_OUT = {"netbsd": ("#MC",)}


class Cell(NamedTuple):
    """A design on a host."""

    design: str
    host: str
    #: The rule that breaks, or "" where nothing does; by which exits; what somebody notices.
    rule: str
    exits: str
    because: str


def designs() -> list[str]:
    """Return the names of the designs on record, in the order of data/designs.csv."""
    return [row["design"] for row in rows("designs")]


def recorded() -> dict[tuple[str, str], Cell]:
    """Return the table as data/matrix.csv has it."""
    return {
        (row["design"], row["host"]): Cell(*(row[name] for name in Cell._fields)) for row in rows("matrix")
    }


def cell(design: str, kind: str) -> Cell:
    """Explore `design` on the kind of host `kind`."""
    for found in _explorations(design, HOSTS[kind]):
        if found.story:
            words = " ".join(re.sub(r"\.\d+", "", str(exit_)) for exit_ in found.exits)
            return Cell(design, kind, found.story.invariant, words, _brief(found.story.symptom))
        if not found.clean:
            raise RuntimeError(f"{design} on {kind}: {found}")
    return Cell(design, kind, "", "", "")


def _explorations(design: str, kind: Host) -> Iterator[Exploration]:
    path, two = find(design), kind.sev_es
    arrivals = [name for name in ARRIVALS if name not in LEFT_OUT.get(kind.kernel, ())]
    for bounds in TWO if two else ONE:
        yield explore(path, kind._replace(seed=SEED, vcpus=2 if two else 1), bounds, arrivals=arrivals)


def _brief(symptom: str) -> str:
    """Return a symptom without the numbers that belong to one seed or one step."""
    text = re.sub(r"0x[0-9a-f]+", "…", re.sub(r"after step \d+", "after a step", symptom))
    text = re.sub(r"; svmlib\S+ lists those there are", "", text)  # a hint for whoever writes a path
    return text if len(text) <= 160 else f"{text[:159]}…"


# -- the command

_EXAMPLES = """\
examples:
  python -m svmlib matrix                          the table
  python -m svmlib matrix --run --host zen2+fsgsbase
  python -m svmlib matrix --run --csv > svmlib/data/matrix.csv
"""


def command(commands: Any) -> None:
    """Add `matrix` to the command line."""
    parser = commands.add_parser(
        "matrix",
        help="every design on every kind of host: safe, or why not",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--run", dest="anew", action="store_true", help="explore anew, and compare with the table"
    )
    parser.add_argument("--host", action="append", choices=COLUMNS, metavar="KIND", help="only on these")
    parser.add_argument("--design", action="append", choices=designs(), metavar="NAME", help="only these")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print the table as data/matrix.csv has it")
    parser.set_defaults(run=_main)


def _main(arguments: argparse.Namespace) -> int:
    names, kinds = arguments.design or designs(), arguments.host or COLUMNS
    wanted = [(design, kind) for design in names for kind in kinds]
    known = recorded()
    anew = arguments.anew
    cells = _run(wanted) if anew else [known[key] for key in wanted if key in known]
    if arguments.json:
        print(json.dumps([one._asdict() for one in cells], ensure_ascii=False, indent=2))
    elif arguments.csv:
        print(as_csv(cells), end="")
    else:
        print(as_text(cells, names, kinds))
    differing = [f"{one.design} on {one.host}" for one in cells if known.get((one.design, one.host)) != one]
    if differing and not arguments.csv:
        print(f"data/matrix.csv has otherwise: {', '.join(differing)}", file=sys.stderr)
    return 1 if differing and not arguments.csv else 0


def _run(wanted: Sequence[tuple[str, str]]) -> list[Cell]:
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        return [cell(*key) for key in wanted]
    return [cell(*key) for key in tqdm(wanted, unit="cell", disable=None, leave=False)]


def as_csv(cells: Sequence[Cell]) -> str:
    """Write cells as data/matrix.csv, each with its source: the exploration itself."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*Cell._fields, "source"])
    writer.writerows([[*one, "explored"] for one in cells])
    return out.getvalue()


def as_text(cells: Sequence[Cell], names: Sequence[str], kinds: Sequence[str]) -> str:
    """Write cells as a table: "safe", or a letter that the lines below it explain."""
    held = {(one.design, one.host): one for one in cells}
    notes: dict[tuple[str, str], str] = {}
    columns = _columns(held, names, kinds)
    width = max(map(len, names))
    lines = [" " * width + "  " + "  ".join(f"{n:>4}" for n in range(1, len(columns) + 1))]
    for design in names:
        row = [_mark(held.get((design, column[0])), notes) for column in columns]
        lines.append(f"{design:{width}}  " + "  ".join(f"{mark:>4}" for mark in row))
    hosts = [f"{n:>2}  {', '.join(column)}" for n, column in enumerate(columns, 1)]
    lines += [
        "",
        *(line for one in hosts for line in textwrap.wrap(one, WIDTH, subsequent_indent="    ")),
        "",
    ]
    for (rule, because), letter in notes.items():
        lines += textwrap.wrap(f"{letter:>2}  {rule}: {because}", WIDTH, subsequent_indent="    ")
    return "\n".join(lines)


def _columns(
    held: dict[tuple[str, str], Cell], names: Sequence[str], kinds: Sequence[str]
) -> list[list[str]]:
    """Put hosts together on which every design fares alike."""
    groups: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for kind in kinds:
        fares = tuple(
            (one.rule, one.because) if (one := held.get((name, kind))) else ("?", "") for name in names
        )
        groups.setdefault(fares, []).append(kind)
    return list(groups.values())


def _mark(one: Cell | None, notes: dict[tuple[str, str], str]) -> str:
    if one is None:
        return "?"
    if not one.rule:
        return "safe"
    n = len(notes)
    letter = chr(97 + n % 26) * (1 + n // 26)
    return notes.setdefault((one.rule, one.because), letter)
