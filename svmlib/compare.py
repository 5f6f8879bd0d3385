"""The paths side by side: are they correct, what do they cost an exit, and which is cheaper for whom.

Answers what the patch's author was asked in December 2020.  Correct means that random runs broke no rule; the
instructions are those of a trace in its steady state; ticks are a price list applied to them.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from .costs import Bill, BreakEven, PriceList, Ticks, bill, break_even, prices
from .costs.prices import tidy
from .data import rows
from .kvm import Host, random_exits, run
from .kvm.run import typical_exits
from .paths import PATHS, vmload_before_stgi

#: The price list where none is named.
PRICES = "epyc-2020"
#: Random runs of each path, and exits in each.
RUNS, EXITS = 32, 24
#: The host whose exits are counted.
HOST = Host(seed=1)

SINCE_2023 = "since_2023"
#: What is compared: path A, path B, and the published figures (or "") for every exit, each put, break-even.
QUESTIONS = (
    ("hybrid", "vmload_before_stgi", ("hybrid_every_exit", "", "")),
    ("lazy", "vmload_before_stgi", ("lazy_every_exit", "lazy_each_put", "lazy_break_even")),
    ("lazy", SINCE_2023, ("", "", "")),
)


class Result(NamedTuple):
    """One path: the symptom of the first rule it broke, or None, and its bills by kind of exit."""

    violation: str | None
    bills: dict[str, Bill]


class Answer(NamedTuple):
    """Path `a` against path `b`: where `a` is cheaper."""

    a: str
    b: str
    outcome: BreakEven
    #: Rows of data/published.csv, or None: every exit, each put, break-even.
    published: tuple[dict[str, str] | None, ...]


class Comparison(NamedTuple):
    """All paths on one price list."""

    prices: PriceList
    paths: dict[str, Result]
    answers: list[Answer]

    def __str__(self) -> str:
        """Write it as one screen; tabulate aligns it."""
        return as_text(self)

    @property
    def correct(self) -> bool:
        """Whether no path broke a rule."""
        return all(result.violation is None for result in self.paths.values())


def compare(paths: Mapping[str, Any] | None = None, costs: PriceList | None = None) -> Comparison:
    """Run and price `paths` (the four of the thread and the merged one's later form) on `costs` (epyc-2020).

    Raises PathError for what is no path, PriceError for a step without a price.
    """
    paths = {**PATHS, SINCE_2023: vmload_before_stgi.since_2023} if paths is None else paths
    costs = costs or prices(PRICES)
    results = {name: _result(path, costs) for name, path in paths.items()}
    published = {row["id"]: row for row in rows("published")}
    answers = [
        Answer(a, b, break_even(results[a].bills, results[b].bills), tuple(map(published.get, known)))
        for a, b, known in QUESTIONS
        if a in results and b in results and results[a].bills and results[b].bills
    ]
    return Comparison(costs, results, answers)


def _result(path: Any, costs: PriceList) -> Result:
    for seed in range(RUNS):
        host = Host(seed, fsgsbase=seed % 2 == 0)
        violation = run(path, random_exits(seed, EXITS, host), host).violation
        if violation:
            return Result(violation.symptom, {})
    return Result(None, {kind: bill(steps, costs) for kind, steps in typical_exits(path, HOST).items()})


# As JSON


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Return `comparison` as plain data: all parts with their intervals, in TSC ticks."""
    return {
        "price_list": comparison.prices.name,
        "unit": "TSC ticks",
        "paths": {
            name: {
                "correct": result.violation is None,
                "violation": result.violation,
                "exits": {kind: _bill_json(one) for kind, one in result.bills.items()},
            }
            for name, result in comparison.paths.items()
        },
        "cheaper": [_answer_json(answer) for answer in comparison.answers],
    }


def _bill_json(one: Bill) -> dict[str, Any]:
    parts = {**one.by_part(), "total": one}
    return {
        part: {"instructions": each.instructions, "ticks": each.total._asdict()}
        for part, each in parts.items()
    }


def _answer_json(answer: Answer) -> dict[str, Any]:
    outcome = answer.outcome
    ticks = {"every_exit": outcome.every_exit._asdict(), "each_put": outcome.each_put._asdict()}
    return answer._asdict() | {"outcome": outcome._asdict() | ticks}


# As text

_KINDS = {"kernel": "in kernel", "user": "to user"}
_QUESTION = "The question: on every exit VMLOAD, or WRMSR GS_BASE (hybrid) or WRGSBASE (lazy) instead?"
_CAVEAT = """\
f: share of exits that go on to user space. Our intervals take every price at its worst; published
ones only the clock's 16-tick steps: two samples a path, at f = 1, on a CPU that was not named."""


def as_text(comparison: Comparison) -> str:
    """Return `comparison` as one screen of text; ModuleNotFoundError says so where tabulate is missing."""
    try:
        from tabulate import tabulate
    except ModuleNotFoundError:
        why = "the table needs the package tabulate, which is missing; pip install tabulate, or use --json"
        raise ModuleNotFoundError(why) from None
    wrong = [f"{name}: {result.violation}" for name, result in comparison.paths.items() if result.violation]
    paths = tabulate(
        [row for name, result in comparison.paths.items() for row in _path_rows(name, result)],
        headers=("path", "exit", "instructions", "save", "enter/exit", "restore", "ticks", "low–high"),
        colalign=("left", "left", *["right"] * 6),
        disable_numparse=True,
    )
    answers = tabulate(
        [row for answer in comparison.answers for row in _answer_rows(answer)],
        headers=("A − B in ticks", "every exit", "each put", "A is cheaper at f"),
        disable_numparse=True,
    )
    title = f"The host's state around #VMEXIT: TSC ticks an exit, price list {comparison.prices.name}"
    question = [_QUESTION, answers] if comparison.answers else []
    return "\n".join([title, paths, *wrong, "", *question, _CAVEAT])


def _path_rows(name: str, result: Result) -> list[tuple[str, ...]]:
    if not result.bills:
        return [(name, "wrong", *[""] * 6)]
    kernel, user = (_exit_row(kind, one) for kind, one in result.bills.items())
    return [(name, *kernel), (f"└ correct, {RUNS} runs", *user)]


def _exit_row(kind: str, one: Bill) -> tuple[str, ...]:
    parts = one.by_part().values()
    split = "+".join(str(part.instructions) for part in parts)
    ticks = [tidy(part.nominal) for part in parts]
    return (_KINDS[kind], f"{split} = {one.instructions}", *ticks, tidy(one.nominal), one.total.interval)


def _answer_rows(answer: Answer) -> Iterator[tuple[str, ...]]:
    outcome = answer.outcome
    yield (f"{answer.a} − {answer.b}", str(outcome.every_exit), str(outcome.each_put), str(outcome))
    if any(answer.published):
        yield ("└ published", *map(_figure, answer.published))


def _figure(row: Mapping[str, str] | None) -> str:
    if row is None:
        return ""
    if row["unit"] == "share":
        return f"below {row['value']} ({row['low']}–{row['high']})"
    return str(Ticks(*(float(row[column]) for column in ("low", "value", "high"))))


# The command

_EXAMPLES = """\
examples:
  python -m svmlib compare                        one screen
  python -m svmlib compare --prices epyc-2020     on this price list
  python -m svmlib compare --json                 everything, for machines
"""


def command(commands: Any) -> None:
    """Add `compare` to the command line."""
    parser = commands.add_parser(
        "compare",
        help="the four paths: correct? instructions and ticks an exit? which is cheaper?",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--prices", default=PRICES, metavar="NAME", help=f"price list (default: {PRICES})")
    parser.set_defaults(run=_main)


def _main(arguments: argparse.Namespace) -> int:
    found = compare(costs=prices(arguments.prices))
    if arguments.json:
        print(json.dumps(as_json(found), ensure_ascii=False, indent=2))
    else:
        print(found)
    return 0 if found.correct else 1
