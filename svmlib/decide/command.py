"""python -m svmlib costs: the decision, the calibration, or all that is known of an event."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..costs import Mix, MixError, PriceError, Terms, cache, lists, mix, mixes, prices, recordings
from ..costs.prices import Ticks
from . import CAVEAT, PAIRS, PRICES, TERMS, Decision, calibration, decide
from . import __doc__ as about
from .text import as_json, calibration_json, calibration_text, evidence_text

_EXAMPLES = """\
examples:
  python -m svmlib costs                                        all hosts, all paths, epyc-2020
  python -m svmlib costs --picture costs.png --picture costs.svg
  python -m svmlib costs --share 0.02 --rate 80000              a host of yours: f, and exits a second
  python -m svmlib costs --mix exits.txt                        a recorded host: python -m svmlib mix --help
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
    for names, options in _options():
        parser.add_argument(*names, **options)
    parser.set_defaults(run=_main)


def _options() -> list[tuple[tuple[str, ...], dict[str, Any]]]:
    """Return the command's options; long, because it has many."""
    known, hosts = ", ".join(lists.names()), ", ".join(mixes())
    every = {"action": "append", "default": []}
    switch = {"action": "store_true"}
    return [
        (
            ("--prices",),
            {"default": PRICES, "metavar": "NAME", "help": f"price list, or a CSV file: {known}"},
        ),
        (("--unverified",), switch | {"help": "take figures from memory into the list, too"}),
        (("--price",), every | {"metavar": "EVENT=LOW,NOMINAL,HIGH", "help": "another price, in ticks"}),
        (
            ("--mix",),
            every
            | {
                "metavar": "NAME",
                "help": f"hosts, or a recording's file (default: all with a share): {hosts}",
            },
        ),
        (
            ("--share",),
            {
                "type": float,
                "metavar": "F",
                "help": "share that reaches vcpu_put, of a host of yours or of --mix",
            },
        ),
        (("--rate",), {"type": float, "metavar": "N", "help": "exits a second, of that host"}),
        (("--pair",), every | {"metavar": "A,B", "help": "two paths to compare"}),
        (("--without",), every | {"choices": ["drain", "ltr"], "help": "a term to leave out"}),
        (
            ("--with",),
            every
            | {
                "choices": ["switch", "kvm", "user_space"],
                "dest": "include",
                "help": "a term to add: VMRUN and what stands around it, KVM's code, user space",
            },
        ),
        (("--cold",), switch | {"help": "carry a cache: pages not touched for long are cold"}),
        (("--prefetch",), switch | {"help": "with Xen's early prefetch; implies --cold"}),
        (("--draws",), {"type": int, "default": 10_000, "metavar": "N", "help": "Monte-Carlo draws (10000)"}),
        (("--seed",), {"type": int, "default": 2020, "metavar": "N", "help": "their seed (2020)"}),
        (("--picture",), every | {"metavar": "FILE", "help": "draw it: FILE.png or FILE.svg"}),
        (("--targets",), switch | {"help": "the calibration instead: targets, residuals, identities"}),
        (("--evidence",), {"metavar": "EVENT", "help": "all that is known of an event instead"}),
        (("--json",), switch | {"help": "print JSON"}),
    ]


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
    costs = prices(arguments.prices, unverified=arguments.unverified).but(**_changed(arguments.price))
    pairs = [_pair(text) for text in arguments.pair] or PAIRS
    decision = decide(costs, _chosen(arguments), pairs, _terms(arguments), arguments.draws, arguments.seed)
    print(json.dumps(as_json(decision), ensure_ascii=False, indent=2) if arguments.json else decision)
    for path in pictures:
        _draw(decision, path)
    return 0


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
    if arguments.share is not None:
        chosen = [one.at(arguments.share) for one in chosen] or [
            Mix("yours", "a host of yours", None).at(arguments.share)
        ]
    if arguments.rate is not None:
        if not chosen:
            raise MixError("--rate is of a host: name it with --mix, or give its --share")
        if not 0 < arguments.rate < float("inf"):
            raise MixError(f"--rate {arguments.rate:g}: exits a second are more than 0")
        rate = Ticks(arguments.rate, arguments.rate, arguments.rate)
        chosen = [one._replace(per_second=rate) for one in chosen]
    return chosen or None


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
    near = (
        cache.usual()._replace(prefetch=arguments.prefetch) if arguments.cold or arguments.prefetch else None
    )
    off = dict.fromkeys(arguments.without, False)
    return TERMS._replace(cache=near, **off, **dict.fromkeys(arguments.include, True))


def _picture(name: str) -> Path:
    path = Path(name)
    if path.suffix not in (".png", ".svg"):
        raise PriceError(f"--picture {name}: the name ends in .png or .svg")
    if not path.parent.is_dir():
        raise PriceError(f"--picture {name}: there is no folder {path.parent}")
    return path


def _draw(decision: Decision, path: Path) -> None:
    try:
        from ..views.decision import draw
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"the picture needs {error.name}, which is missing; pip install {error.name}"
        ) from None
    draw(decision, CAVEAT).savefig(path, dpi=150)
    print(f"drawn: {path}")
