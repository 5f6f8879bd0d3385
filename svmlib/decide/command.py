"""python -m svmlib costs: the decision, the calibration, or all that is known of an event."""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..costs import Mix, MixError, PriceError, Terms, by_reason, cache, lists, mix, mixes, prices, recordings
from ..costs.prices import PriceList, Ticks
from . import CAVEAT, PAIRS, PRICES, TERMS, Decision, calibration, decide
from . import __doc__ as about
from .text import as_json, as_text, calibration_json, calibration_text, evidence_text

_EXAMPLES = """\
examples:
  python -m svmlib costs                                        all hosts, all paths, epyc-2020
  python -m svmlib costs --picture costs.png --picture costs.svg
  python -m svmlib costs --share 0.02 --rate 80000              a host of yours: f, and exits a second
  python -m svmlib costs --mix exits.txt                        a recorded host: python -m svmlib mix --help
  python -m svmlib costs --reason HLT=0.5:1 --reason "MSR write=0.5:0"
  python -m svmlib costs --prices zen4 --pair lazy,hybrid
  python -m svmlib costs --price VMLOAD=200,300,440 --cold --prefetch
  python -m svmlib costs --targets                              the model against the publications
  python -m svmlib costs --evidence VMLOAD                      every row there is, conflicting ones too
"""


def command(commands: Any) -> None:
    """Add `costs` to the command line."""
    parser = commands.add_parser(
        "costs",
        help="which path is cheaper on which host, with intervals and probabilities",
        description=about,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for group, add in (
        ("the prices", _prices),
        ("the hosts", _hosts),
        ("the bill", _bill),
        ("the output", _output),
    ):
        add(parser.add_argument_group(group))
    parser.set_defaults(run=_main)


def _prices(group: Any) -> None:
    add, known = group.add_argument, ", ".join(lists.names())
    add("--prices", default=PRICES, metavar="NAME", help=f"a price list, or a CSV file of one: {known}")
    price = "another price, in ticks"
    add("--price", action="append", default=[], metavar="EVENT=LOW,NOMINAL,HIGH", help=price)
    add("--unverified", action="store_true", help="take figures from memory into the list, too")


def _hosts(group: Any) -> None:
    add, known = group.add_argument, ", ".join(mixes())
    hosts = f"a host, or a recording's file (default: all hosts with a share): {known}"
    add("--mix", action="append", default=[], metavar="NAME", help=hosts)
    share = "the share of exits that reach vcpu_put, of a host of yours or of --mix"
    add("--share", type=float, metavar="F", help=share)
    reason = "a host of yours by reasons: the share of its exits, and the share of those that reach vcpu_put"
    add("--reason", action="append", default=[], metavar="REASON=SHARE:PUTS", help=reason)
    add("--rate", type=float, metavar="N", help="exits a second, of that host")


def _bill(group: Any) -> None:
    add = group.add_argument
    add("--pair", action="append", default=[], metavar="A,B", help="two paths to compare")
    add("--without", action="append", default=[], choices=["drain", "ltr"], help="a term to leave out")
    more = "a term to add: VMRUN and what stands around it, KVM's code, user space"
    choices = ["switch", "kvm", "user_space"]
    add("--with", action="append", default=[], choices=choices, dest="include", help=more)
    add("--cold", action="store_true", help="carry a cache: pages not touched for long are cold")
    add("--prefetch", action="store_true", help="with Xen's early prefetch; implies --cold")
    add("--draws", type=int, default=10_000, metavar="N", help="Monte-Carlo draws (10000)")
    add("--seed", type=int, default=2020, metavar="N", help="their seed (2020)")


def _output(group: Any) -> None:
    add = group.add_argument
    add("--picture", action="append", default=[], metavar="FILE", help="draw it: FILE.png or FILE.svg")
    add("--targets", action="store_true", help="the calibration instead: targets, residuals, identities")
    add("--evidence", metavar="EVENT", help="all that is known of an event instead")
    add("--json", action="store_true", help="print JSON")


def _main(arguments: argparse.Namespace) -> int:
    if arguments.evidence:
        print(evidence_text(arguments.evidence))
        return 0
    if arguments.targets:
        found = calibration()
        as_data = arguments.json
        print(json.dumps(calibration_json(found), indent=2) if as_data else calibration_text(found))
        return 0 if found.good else 1
    if not 2 <= arguments.draws <= 1_000_000:
        raise PriceError(f"--draws {arguments.draws}: write 2 to 1,000,000")
    pictures = [_picture(name) for name in arguments.picture]
    costs = _prices_of(arguments)
    pairs = [_pair(text) for text in arguments.pair] or PAIRS
    decision = decide(costs, _chosen(arguments), pairs, _terms(arguments), arguments.draws, arguments.seed)
    if arguments.json:
        print(json.dumps(as_json(decision), ensure_ascii=False, indent=2))
    else:
        print(as_text(decision, _width()))
    for path in pictures:
        _draw(decision, path)
    return 0


def _prices_of(arguments: argparse.Namespace) -> PriceList:
    """The list that was asked for, with the prices that were given; an event that it has not is a slip."""
    costs = prices(arguments.prices, unverified=arguments.unverified)
    changed = _changed(arguments.price)
    known = set(costs)
    if unknown := [event for event in changed if event not in known]:
        near = get_close_matches(unknown[0].upper(), known, n=3, cutoff=0.4) or sorted(known)
        which = f"did you mean {', '.join(near)}"
        raise PriceError(f"--price {unknown[0]}: {costs.name} has no such event; {which}")
    return costs.but(**changed)


def _changed(texts: Sequence[str]) -> dict[str, tuple[float, float, float]]:
    changed = {}
    for text in texts:
        event, _, numbers = text.rpartition("=")
        try:
            low, nominal, high = map(float, numbers.split(","))
        except ValueError:
            raise PriceError(f"--price {text}: write EVENT=LOW,NOMINAL,HIGH, as in VMLOAD=48,64,80") from None
        changed[event] = (low, nominal, high)
    return changed


def _chosen(arguments: argparse.Namespace) -> list[Mix] | None:
    chosen = [_host(name, arguments.share) for name in arguments.mix]
    if arguments.reason:
        chosen.append(_by_reason(arguments.reason))
    if arguments.share is not None:
        chosen = [one.at(arguments.share) for one in chosen] or [
            Mix("yours", "a host of yours", None).at(arguments.share)
        ]
    if arguments.rate is not None:
        if not chosen:
            raise MixError("--rate is of a host: name it with --mix, or give its --share or --reason")
        if not 0 < arguments.rate < float("inf"):
            raise MixError(f"--rate {arguments.rate:g}: exits a second are more than 0")
        rate = Ticks(arguments.rate, arguments.rate, arguments.rate)
        chosen = [one._replace(per_second=rate) for one in chosen]
    return chosen or None


def _by_reason(texts: Sequence[str]) -> Mix:
    reasons = {}
    for text in texts:
        reason, _, numbers = text.rpartition("=")
        try:
            share, puts = map(float, numbers.split(":"))
        except ValueError:
            why = "write REASON=SHARE:PUTS, as in HLT=0.6:1 for 60 % of the exits, all of them put"
            raise MixError(f"--reason {text}: {why}") from None
        reasons[reason] = (share, puts)
    return by_reason("yours", reasons)


def _host(name: str, share: float | None) -> Mix:
    """Return the mix of that name, or the one that a recording in a file of that name makes."""
    if not Path(name).is_file():
        return mix(name)
    recording = recordings.read(name)
    if share is None:
        _ = recording.share  # a table does not tell it, and says what to do
    return recording.mix(Path(name).name)


def _pair(text: str) -> tuple[str, str]:
    a, comma, b = text.partition(",")
    if not comma:
        raise PriceError(f"--pair {text}: write two paths, as in lazy,vmload_before_stgi")
    return a, b


def _terms(arguments: argparse.Namespace) -> Terms:
    is_cold = arguments.cold or arguments.prefetch
    near = cache.usual()._replace(prefetch=arguments.prefetch) if is_cold else None
    off = dict.fromkeys(arguments.without, False)
    return TERMS._replace(cache=near, **off, **dict.fromkeys(arguments.include, True))


def _picture(name: str) -> Path:
    path = Path(name)
    if path.suffix not in (".png", ".svg"):
        raise PriceError(f"--picture {name}: the name ends in .png or .svg")
    if not path.parent.is_dir():
        raise PriceError(f"--picture {name}: there is no folder {path.parent}")
    return path


def _width() -> int | None:
    """Return how wide a line may be: the terminal's width; None where a file or a pipe takes the tables."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _draw(decision: Decision, path: Path) -> None:
    try:
        from ..views.decision import draw
    except ModuleNotFoundError as error:
        why = f"the picture needs {error.name}, which is missing; pip install {error.name}"
        raise ModuleNotFoundError(why) from None
    draw(decision, CAVEAT).savefig(path, dpi=150)
    print(f"drawn: {path}")
