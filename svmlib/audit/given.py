"""What the exercise on costs is given: counts of paths, a price list, hosts and draws, all as plain data."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from random import Random
from typing import Any

from ..check import PUBLIC_SEED
from ..costs import Terms, bill, mix, prices
from ..data import rows
from ..decide import SINCE_2023, typical

#: Event -> how often, or how many ticks.
Counts = Mapping[str, float]
#: "kernel" and "user" -> the counts of such an exit.
Path = Mapping[str, Counts]
#: Event -> (low, nominal, high) in ticks.
Interval = tuple[float, float, float]
Prices = Mapping[str, Interval]

#: The exercise's names for the paths.
PATHS = {
    "legacy": "legacy",
    "hybrid": "hybrid",
    "lazy": "lazy",
    "merged": "vmload_before_stgi",
    "merged since 2023": SINCE_2023,
}
#: Three hosts, and a rate for the one whose rate was not published.
HOSTS = {"haswell": 100_000.0, "idle": 0.0, "user-device": 0.0}


def counts(path: str) -> dict[str, dict[str, float]]:
    """Return how often each event happens in an exit "kernel" and in an exit "user" of a path.

    VMRUN and what else every path pays is left out.  The paths are legacy, hybrid, lazy, merged, and merged
    since 2023.
    """
    if path not in PATHS:
        raise KeyError(f"no path {path!r}; there is {', '.join(PATHS)}")
    return {kind: dict(events) for kind, events in _counted()[path].items()}


@cache
def _counted() -> dict[str, dict[str, dict[str, float]]]:
    steps, costs = typical(), prices("epyc-2020")
    return {
        name: {
            kind: {event: float(n) for event, n in bill(exit_, costs, Terms(switch=False)).events.items()}
            for kind, exit_ in steps[path].items()
        }
        for name, path in PATHS.items()
    }


def price_list(name: str = "epyc-2020") -> dict[str, Interval]:
    """Return a price list: event -> (low, nominal, high) in ticks, of the events that a path here has."""
    known = prices(name)
    events = dict.fromkeys(event for path in _counted().values() for kind in path.values() for event in kind)
    return {event: (known[event].low, known[event].nominal, known[event].high) for event in events}


def hosts() -> dict[str, dict[str, Any]]:
    """Return three hosts: the share f of exits that reach vcpu_put, exits a second, and what they are."""
    found = {}
    for name, rate in HOSTS.items():
        one = mix(name)
        known = one.per_second.nominal if one.per_second else rate
        found[name] = {"f": one.f.nominal, "per_second": known, "is": one.title}
    return found


def draws(n: int = 400, name: str = "", costs: Prices | None = None) -> list[dict[str, float]]:
    """Return `n` draws of a price list, event -> ticks: each price somewhere in its interval.

    The two prices that were derived from one published difference keep to it (data/conditions.csv).
    """
    random, costs = drawn(f"draws {name}"), costs or price_list()
    found: list[dict[str, float]] = []
    while len(found) < n:
        draw = {event: random.uniform(low, high) for event, (low, _, high) in costs.items()}
        if name or random.random() < _likelihood(draw):
            found.append(draw)
    return found


def _likelihood(draw: Counts) -> float:
    likely = 1.0
    for row in rows("conditions"):
        if row["event"] in draw and row["other"] in draw:
            away = (draw[row["event"]] - draw[row["other"]] - float(row["value"])) / float(row["sd"])
            likely *= math.exp(-0.5 * away * away)
    return likely


# Random ones, for grading


def drawn(name: str) -> Random:
    """Return random numbers of the class's seed, or of the public one."""
    return Random(f"{os.environ.get('SVMLIB_SEED', PUBLIC_SEED)} {name}")


def random_lists(name: str, n: int = 12) -> Iterator[tuple[Random, dict[str, Interval]]]:
    """Yield `n` price lists with random prices; none without a `name`."""
    random = drawn(name)
    for _ in range(n if name else 0):
        yield random, {event: random_price(random) for event in price_list()}


def random_price(random: Random) -> Interval:
    """Return a random interval."""
    low, nominal, high = sorted(random.uniform(1, 400) for _ in range(3))
    return low, nominal, high


def random_path(random: Random, events: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return a path whose exits to user space do all that those in the kernel do, and more."""
    kernel = {event: float(random.randint(1, 4)) for event in random.sample(events, 4)}
    more = {event: float(random.randint(1, 9)) for event in random.sample(events, 5)}
    both = {event: kernel.get(event, 0.0) + more.get(event, 0.0) for event in {**kernel, **more}}
    return {"kernel": kernel, "user": both}
