"""The tables of course/ground_truth.md, printed from the data; the prose between them is written by hand.

    python -m svmlib.emulators.page            write them
    python -m svmlib.emulators.page --check    only say whether they are stale; exit status 1 if they are

A table stands between `<!-- table: NAME -->` and `<!-- end -->`.
"""

import argparse
import csv
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ..data import rows
from ..instructions import Cpu
from .programs import OPERANDS
from .witness import recording

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "course" / "ground_truth.md"
#: Profile -> who behaves so.
ENGINES = {"documented": "model", "qemu72": "QEMU 7.2", "bochs27": "Bochs 2.7"}
_BLOCK = re.compile(r"(<!-- table: ([\w-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
#: Instructions that no operation has the name of, and with which operation they execute.
_WITHIN = {"iret": '("user", ...)', "vmmcall": "vmrun"}


class PageError(ValueError):
    """A page whose tables cannot be printed."""


def rendered(text: str) -> str:
    """The page with its tables as the data has them; PageError names a table that is none."""

    def fill(found: re.Match[str]) -> str:
        if found[2] not in TABLES:
            raise PageError(f"there is no table {found[2]!r}; there are {', '.join(TABLES)}")
        return f"{found[1]}\n{TABLES[found[2]]()}\n\n{found[4]}"

    if text.count("<!-- table: ") != len(_BLOCK.findall(text)):
        raise PageError("a table has no <!-- end --> behind it")
    return _BLOCK.sub(fill, text)


def _table(headers: Sequence[str], cells: Iterable[Sequence[str]]) -> str:
    lines = [headers, ["---"] * len(headers), *cells]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)


def _code(words: str) -> str:
    return " ".join(f"`{word}`" for word in words.split())


def _deviations() -> str:
    return _table(
        ("deviation", "emulator", "at", "what the emulator does", "what the model does", "why", "sources"),
        (
            (
                row["name"],
                ENGINES[row["engine"]],
                _code(row["operations"]),
                row["emulator"],
                row["model"],
                row["reason"],
                row["source"],
            )
            for row in rows("deviations")
        ),
    )


def _set(row: dict[str, str]) -> list[str]:
    return ["set" if row[name] == "1" else "–" for name in ENGINES]


def _options() -> str:
    return _table(
        ("option", *ENGINES.values(), "set, it means that", "sources"),
        ((_code(row["option"]), *_set(row), row["meaning"], row["source"]) for row in rows("options")),
    )


def _checks() -> str:
    return _table(
        ("VMRUN refuses where", *ENGINES.values(), "sources"),
        (
            (row["sentence"], *_set(row), row["source"])
            for row in rows("vmrun_checks")
            if len({row[name] for name in ENGINES}) > 1
        ),
    )


def _external() -> str:
    cases = [case for name in ("kvm_unit_tests", "interrupts") for case in _beside_the_tests(name)]
    return f"{len(cases)} rows. Where one of the three does otherwise:\n\n" + _table(
        ("rows", "who", "in", "the suite wants", "it gives", "why", "sources"),
        (
            (
                _code(row["cases"]),
                ENGINES[row["engine"]],
                _code(row["what"]),
                row["expected"],
                row["gives"].removesuffix(" !"),
                row["reason"],
                row["source"],
            )
            for row in _beside_the_tests("differences")
        ),
    )


def _beside_the_tests(name: str) -> list[dict[str, str]]:
    with (ROOT / "tests" / "external" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _kernel() -> str:
    recorded = recording.read(ROOT / "tests" / "recorded" / "kernel-6.1.txt")
    return _table(
        ("exit", "instructions in the kernel", "in user space", "identical round trips"),
        (
            (what, f"{trip.kernel:,}", f"{trip.user:,}", f"{trip.identical:,} of {trip.recorded:,}")
            for kind, what in recording.KINDS.items()
            for trip in (recorded.trips[kind],)
        ),
    )


def _instructions() -> str:
    methods = {name for name in dir(Cpu) if not name.startswith("_")}
    left = sorted(methods - set(OPERANDS) - set(_WITHIN))
    return _code(" ".join(left)) + "." if left else "none."


def _sources() -> str:
    tables = [*(rows(name) for name in ("deviations", "options", "vmrun_checks")),
              _beside_the_tests("differences")]  # fmt: skip
    named = {source for table in tables for row in table for source in row["source"].split()}
    return _table(
        ("source", "what it is", "where"),
        ((row["id"], row["title"], row["where"]) for row in rows("sources") if row["id"] in named),
    )


#: Table -> what prints it.
TABLES: dict[str, Callable[[], str]] = {
    "deviations": _deviations,
    "options": _options,
    "checks": _checks,
    "external": _external,
    "kernel": _kernel,
    "instructions": _instructions,
    "sources": _sources,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page's tables, or check them; 1 with one line where they are stale or cannot be printed."""
    parser = argparse.ArgumentParser(
        prog="python -m svmlib.emulators.page",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, nargs="?", default=PAGE, help=f"default: {PAGE.relative_to(ROOT)}")
    parser.add_argument("--check", action="store_true", help="write nothing")
    arguments = parser.parse_args(argv)
    try:
        old = arguments.file.read_text(encoding="utf-8")
        new = rendered(old)
    except (PageError, OSError) as error:
        print(f"{arguments.file}: {error}", file=sys.stderr)
        return 1
    if new == old:
        return 0
    if arguments.check:
        print(f"{arguments.file} is stale: make notebooks prints its tables anew", file=sys.stderr)
        return 1
    arguments.file.write_text(new, encoding="utf-8")
    print(f"{arguments.file} has new tables")
    return 0


if __name__ == "__main__":
    sys.exit(main())
