"""A recording of a host's exits: why guests left, what became of the exits, and what each path makes of them.

A sequence (trace-cmd) is replayed on the model: every path runs through the recorded exits, on as many CPUs
and with as many vCPUs, and the bill of what it did is compared with the bill that the share f alone predicts.
A table (perf kvm stat) has no sequence, and the share has to be given.
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from .costs import PriceList, Terms, Ticks, bill, cache, exit_costs, prices
from .costs.prices import tidy
from .costs.recordings import KINDS, RECORD, Exit, Recording, RecordingError, read
from .costs.terms import PLAIN
from .kvm import Host, exits, run
from .kvm.run import typical_exits
from .paths import PATHS, upstream_6_1, vmload_before_stgi

#: The price list where none is named, and how many exits are replayed: a few seconds a path.
PRICES, EXITS = "epyc-2020", 10_000


class Replayed(NamedTuple):
    """What one path made of the recorded exits, in ticks an exit."""

    path: str
    #: By the share f alone; nothing where the share is not known.
    predicted: Ticks | None
    #: By its own steps; None where nothing was replayed, or a rule was broken.
    replayed: Ticks | None
    #: The symptom of the rule that it broke, or None.
    violation: str | None


class Answer(NamedTuple):
    """A recording, and what the paths made of it."""

    file: str
    recording: Recording
    #: The share f and whether it was counted, not given; None where neither.
    share: float | None
    prices: PriceList
    #: How many exits were replayed, and whether with a cache.
    exits: int
    cold: bool
    paths: list[Replayed]

    def __str__(self) -> str:
        """Write it as one screen."""
        return as_text(self)


def paths() -> dict[str, Any]:
    """The paths that are replayed, by name: those that compare prices, and Debian 12's."""
    return {**PATHS, "since_2023": vmload_before_stgi.since_2023, "upstream_6_1": upstream_6_1}


def answer(
    file: str,
    share: float | None = None,
    costs: PriceList | None = None,
    limit: int = EXITS,
    terms: Terms = PLAIN,
    progress: Callable[[int], object] = lambda paths: None,
) -> Answer:
    """Read a recording and replay its first `limit` exits; RecordingError, one line, where it is none.

    With a cache among `terms`, it is carried through the exits, each page near or not as they left it.
    """
    recording = read(file)
    if share is not None and recording.exits:
        raise RecordingError(f"{file} tells the share f, {recording.share:.4g}; leave --share out")
    if share is not None and not 0 <= share <= 1:
        raise RecordingError(f"--share {share:g}: write a share, 0 to 1")
    costs = costs or prices(PRICES)
    known = recording.share if recording.exits else share
    chosen = recording.exits[:limit]
    found = []
    for name, path in paths().items():
        found.append(_replay(name, path, chosen, known, costs, terms))
        progress(1)
    return Answer(file, recording, known, costs, len(chosen), terms.cache is not None, found)


def _replay(
    name: str, path: Any, chosen: Sequence[Exit], share: float | None, costs: PriceList, terms: Terms
) -> Replayed:
    predicted = None
    if share is not None:
        predicted = exit_costs(name, typical_exits(path, Host(seed=1)), costs, terms).ticks(share)
    if not chosen:
        return Replayed(name, predicted, None, None)
    host = Host(seed=1, cpus=1 + max(one.cpu for one in chosen), vcpus=1 + max(one.vcpu for one in chosen))
    done = run(path, exits(*(one.word for one in chosen)), host)
    if done.violation:
        return Replayed(name, predicted, None, done.violation.symptom)
    total = bill(done.trace, costs, terms).total
    return Replayed(name, predicted, Ticks(*(ticks / len(chosen) for ticks in total)), None)


# As JSON and as text


def as_json(found: Answer) -> dict[str, Any]:
    """Return an answer as plain data."""
    recording = found.recording
    return {
        "file": found.file,
        "format": recording.format,
        "exits": recording.total,
        "seconds": recording.seconds,
        "reasons": recording.reasons,
        "became": dict(recording.kinds),
        "share": found.share,
        "share_counted": bool(recording.exits),
        "notes": recording.notes,
        "price_list": found.prices.name,
        "unit": "TSC ticks an exit",
        "replayed_exits": found.exits,
        "cache_carried": found.cold,
        "paths": [
            {
                "path": one.path,
                "predicted": one.predicted and one.predicted._asdict(),
                "replayed": one.replayed and one.replayed._asdict(),
                "violation": one.violation,
            }
            for one in found.paths
        ],
    }


def as_text(found: Answer) -> str:
    """Return an answer as tables; ModuleNotFoundError says so where tabulate is missing."""
    recording = found.recording
    head = ("why guests left", "exits", "and what became of them")[: 3 if recording.exits else 2]
    lines = [_title(found), *recording.notes, "", _table(_reasons(recording), head)]
    if found.share is None:
        try:
            _ = recording.share
        except RecordingError as why:
            return "\n".join([*lines, "", f"What the paths cost is not told: {why}, with --share F."])
    how = "counted" if recording.exits else "given"
    lines += [
        "",
        f"f = {found.share:.4g}, {how}; TSC ticks an exit (low–high), price list {found.prices.name}",
    ]
    head = ("path", "by f alone", "replayed") if found.exits else ("path", "by f alone")
    lines += [_table([_row(one)[: len(head)] for one in found.paths], head)]
    if 0 < found.exits < len(recording.exits):
        some = f"The first {found.exits:,} of {len(recording.exits):,} exits were replayed"
        lines += [f"{some}; --exits N takes more."]
    if found.cold and found.exits:
        lines += [
            "Another thread displaces more than a return to user space does, which f alone does not know."
        ]
    return "\n".join([*lines, *_CAVEAT.format(found.file).splitlines()])


_CAVEAT = """\
The bill is of the path's functions, VMRUN included; its interval takes every price at its worst.
How sure it is that one path is cheaper: python -m svmlib costs --mix {}"""


def _title(found: Answer) -> str:
    recording = found.recording
    words = f"{found.file}: {recording.format}, {recording.total:,} exits"
    if recording.seconds is None:
        return words
    cpus, vcpus = (len({one[place] for one in recording.exits}) for place in (2, 3))
    rate = f" in {recording.seconds:.3g} s" if recording.seconds else ""
    return f"{words} of {_several(vcpus, 'vCPU')} on {_several(cpus, 'CPU')}{rate}"


def _several(number: int, what: str) -> str:
    return f"{number} {what}" + "s" * (number > 1)


def _reasons(recording: Recording) -> list[tuple[str, ...]]:
    became: Mapping[tuple[str, str], int] = Counter((one.reason, one.kind) for one in recording.exits)
    rows: list[tuple[str, ...]] = []
    for reason, count in recording.reasons.items():
        kinds = (f"{became[reason, kind]} {kind}" for kind in KINDS if became[reason, kind])
        rows.append((reason, f"{count:,}  {count / recording.total:6.1%}", ", ".join(kinds)))
    totals = ", ".join(f"{count} {kind}" for kind in KINDS if (count := recording.kinds[kind]))
    rows.append(("all", f"{recording.total:,}  {1:6.1%}", totals))
    return rows if recording.exits else [row[:2] for row in rows]


def _row(one: Replayed) -> tuple[str, ...]:
    replayed = one.violation or (_ticks(one.replayed) if one.replayed else "")
    return (one.path, _ticks(one.predicted) if one.predicted else "", replayed)


def _ticks(ticks: Ticks) -> str:
    return f"{tidy(ticks.nominal)} ({ticks.interval})"


def _table(body: Sequence[Sequence[str]], head: Sequence[str]) -> str:
    try:
        from tabulate import tabulate
    except ModuleNotFoundError:
        why = "the table needs the package tabulate, which is missing; pip install tabulate, or use --json"
        raise ModuleNotFoundError(why) from None
    right = ("left", "right", "left" if head[0] != "path" else "right")[: len(head)]
    return str(tabulate(body, headers=head, disable_numparse=True, colalign=right))


# The command

_EXAMPLES = f"""\
examples:
  {RECORD} sleep 10
  trace-cmd report > exits.txt                        (both as root, while guests run)
  python -m svmlib mix exits.txt                      why guests left, and every path replayed
  python -m svmlib mix exits.txt --prices zen4 --exits 50000
  perf kvm stat record -a sleep 10; perf kvm stat report > table.txt 2>&1
  python -m svmlib mix table.txt --share 0.06         a table does not tell f
"""


def command(commands: Any) -> None:
    """Add `mix` to the command line."""
    parser = commands.add_parser(
        "mix",
        help="read a recording of a host's exits, and replay it with every path",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="what perf kvm stat report or trace-cmd report printed")
    parser.add_argument(
        "--share", type=float, metavar="F", help="the share of exits that reach vcpu_put, for a table"
    )
    parser.add_argument("--prices", default=PRICES, metavar="NAME", help=f"price list (default: {PRICES})")
    parser.add_argument(
        "--exits", type=int, default=EXITS, metavar="N", help=f"replay so many (default: {EXITS})"
    )
    parser.add_argument(
        "--cold", action="store_true", help="carry a cache through the exits: a page left long ago is cold"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_main)


def _main(arguments: argparse.Namespace) -> int:
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        raise ModuleNotFoundError("the progress bar needs the package tqdm; pip install tqdm") from None
    if arguments.exits < 0:
        raise RecordingError(f"--exits {arguments.exits}: write 0 or more")
    try:
        with tqdm(total=len(paths()), desc="reading", unit="path", disable=None, leave=False) as bar:

            def progress(done: int) -> None:
                bar.set_description("replayed", refresh=False)
                bar.update(done)

            terms = PLAIN._replace(cache=cache.usual() if arguments.cold else None)
            costs = prices(arguments.prices)
            found = answer(arguments.file, arguments.share, costs, arguments.exits, terms, progress)
    except OSError as error:
        raise RecordingError(
            f"{error.filename}: {error.strerror}; name a file with what `trace-cmd report` or "
            "`perf kvm stat report` printed"
        ) from None
    print(json.dumps(as_json(found), ensure_ascii=False, indent=2) if arguments.json else found)
    return 0 if all(one.violation is None for one in found.paths) else 1
