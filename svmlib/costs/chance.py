"""Bills as distributions: every price drawn from its interval, many times, with a seed.

Prices are uniform over their intervals and independent, with two exceptions: rows in core cycles of one list
share one draw of core_per_tick, and where two prices were derived from one published difference, draws that
contradict that difference are rare (data/conditions.csv).  An event's draws depend on the seed and its name
alone.  So two bills on the same Draws pay the same price for what they share, and adding a path or an event
changes no other number.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from ..data import rows
from .bills import Bill
from .breakeven import Counts
from .exits import ExitCosts, less
from .lists import prices
from .mixes import Mix
from .prices import CYCLES, RATIO, Price, PriceError, PriceList, tidy
from .terms import events_of

#: Draws where no number is given, and the seed.
DRAWS, SEED = 10_000, 2020
Floats = NDArray[np.float64]


class Spread(NamedTuple):
    """A distribution in three numbers: 5 % are below `low`, 5 % above `high`."""

    low: float
    median: float
    high: float

    def __str__(self) -> str:
        """Write the median and the interval."""
        return f"{tidy(self.median)} ({tidy(self.low)} to {tidy(self.high)})"


def spread(values: Floats) -> Spread:
    """Return median and 5 and 95 % of `values`."""
    return Spread(*(float(number) for number in np.quantile(values, (0.05, 0.5, 0.95))))


def of_bill(bill: Bill, n: int = DRAWS, seed: int = SEED) -> Spread:
    """Return a bill as a distribution: median, 5 and 95 % of `n` draws of its prices."""
    return spread(Draws(bill.prices, bill.events, n, seed).cost(bill.events))


class Draws:
    """Draws of a price list: a row a draw, a column an event."""

    def __init__(self, costs: PriceList, events: Iterable[str], n: int = DRAWS, seed: int = SEED):
        """Draw `n` times the prices of `events`; PriceError names an event without a price."""
        self.prices = costs
        self.n, self.seed = n, seed
        self.column = {event: at for at, event in enumerate(dict.fromkeys(events))}
        self.table = np.empty((n, len(self.column)))
        ratio = self.uniform(RATIO, costs.ratio) if costs.ratio else None
        joint = dict(_joint(costs, self.column, n, seed))
        for event, at in self.column.items():
            self.table[:, at] = joint.get(event, self._ticks(event, ratio))

    def uniform(self, name: str, price: Price | tuple[float, float, float]) -> Floats:
        """Return draws from low to high, told from others by `name`."""
        return _uniform(name, price[0], price[2], self.n, self.seed)

    def _ticks(self, event: str, ratio: Floats | None) -> Floats:
        price = self.prices[event]
        if price.unit != CYCLES or ratio is None or self.prices.ratio is None:
            return self.uniform(event, price)
        low, high = price.low * self.prices.ratio.high, price.high * self.prices.ratio.low
        if low > high:  # changed by hand to an interval narrower than the conversion's
            return self.uniform(event, price)
        return _uniform(event, low, high, self.n, self.seed) / ratio

    def cost(self, counts: Counts) -> Floats:
        """Return what the events of `counts` cost, a number a draw."""
        return self.table @ self.vector(counts)

    def vector(self, counts: Counts) -> Floats:
        """Return `counts` in the order of the columns; PriceError names an event that was not drawn."""
        found = np.zeros(len(self.column))
        for event, times in counts.items():
            if event not in self.column:
                raise PriceError(f"{event} was not drawn; name it when you make the Draws")
            found[self.column[event]] = times
        return found


def draws_for(paths: Iterable[ExitCosts], n: int = DRAWS, seed: int = SEED) -> Draws:
    """Draw the prices of everything that happens on `paths`, all of one price list."""
    paths = list(paths)
    lists = {path.prices.name: path.prices for path in paths}
    if len(lists) != 1:
        both = " and ".join(lists)
        raise PriceError(f"bills on two price lists cannot be compared: {both}; price both on one")
    (costs,) = lists.values()
    events = [event for path in paths for share in (0.0, 1.0) for event in path.at(share)]
    if any(path.terms.cache for path in paths):
        events += events_of("cache")  # which of them happen depends on the share
    return Draws(costs, events, n, seed)


def beats(difference: Floats) -> float:
    """Return the probability that the first is cheaper, given first less second; a tie counts half."""
    return float(np.mean(difference < 0) + 0.5 * np.mean(difference == 0))


class Difference(NamedTuple):
    """Path `a` less path `b` on one mix, in ticks an exit."""

    a: str
    b: str
    ticks: Spread
    nominal: float
    #: The probability that `a` is the cheaper one.
    cheaper: float

    @property
    def sign(self) -> str:
        """The answer in a word, where it is at least 95 % sure."""
        if self.cheaper >= 0.95:
            return f"{self.a} cheaper"
        return f"{self.b} cheaper" if self.cheaper <= 0.05 else "open"


def difference(a: ExitCosts, b: ExitCosts, mix: Mix, draws: Draws) -> Difference:
    """Return what `a` costs more than `b` on `mix`; its share is drawn from its interval, as prices are."""
    found = _on(mix, lambda share: less(a.at(share), b.at(share)), draws)
    nominal = draws.prices.total(less(a.at(mix.f.nominal), b.at(mix.f.nominal))).nominal
    return Difference(a.path, b.path, spread(found), nominal, beats(found))


def _on(mix: Mix, counts: Callable[[float], Counts], draws: Draws) -> Floats:
    """Return what the counts at a share cost, the share drawn from its interval: straight in between."""
    knots = sorted(set(mix.f))
    values = np.stack([draws.cost(counts(share)) for share in knots])
    if len(knots) == 1:
        return np.asarray(values[0])
    f = draws.uniform(f"share of {mix.name}", mix.f)
    right = np.clip(np.searchsorted(knots, f), 1, len(knots) - 1)
    x, columns = np.asarray(knots), np.arange(len(f))
    weight = (f - x[right - 1]) / (x[right] - x[right - 1])
    return np.asarray((1 - weight) * values[right - 1, columns] + weight * values[right, columns])


class Border(NamedTuple):
    """The break-even share of two paths as a distribution."""

    #: "below" or "above" the share `a` is cheaper, as the nominal prices have it; or "always", "never".
    wins: str
    share: Spread
    nominal: float
    #: The probability that there is a border at all between 0 and 1.
    exists: float

    def __str__(self) -> str:
        """Write the border and its interval."""
        if self.wins in ("always", "never"):
            return self.wins
        low, median, high = self.share
        return f"{self.wins} {median:.2f} ({low:.2f} to {high:.2f})"


def border(a: ExitCosts, b: ExitCosts, draws: Draws) -> Border:
    """Return the share f* at which `a` and `b` cost the same.

    Warm pages only, where the difference is straight in f; a draw in which one path always wins counts as a
    border at 0 or 1.
    """
    if a.terms.cache or b.terms.cache:
        raise PriceError(
            "with a cache the difference is not straight in f: no single border; use difference()"
        )
    kernel, user = (draws.cost(less(a.at(share), b.at(share))) for share in (0.0, 1.0))
    sure = {share: draws.prices.total(less(a.at(share), b.at(share))).nominal for share in (0.0, 1.0)}
    wins = "below" if sure[0.0] < 0 <= sure[1.0] else "above" if sure[1.0] < 0 <= sure[0.0] else ""
    wins = wins or ("always" if sure[0.0] < 0 else "never")
    with np.errstate(divide="ignore", invalid="ignore"):
        root = np.where(user != kernel, -kernel / (user - kernel), np.nan)
    first_wins_at_0 = kernel < 0
    inside = (root > 0) & (root < 1)
    ends = np.where(first_wins_at_0 == (wins != "above"), 1.0, 0.0)
    shares = np.where(inside, root, ends)
    gap = sure[1.0] - sure[0.0]
    return Border(wins, spread(shares), -sure[0.0] / gap if gap else float("nan"), float(np.mean(inside)))


class Load(NamedTuple):
    """What a path costs a host: ticks an exit, ticks a second, and percent of a core."""

    path: str
    mix: str
    per_exit: Spread
    per_second: Spread | None
    percent: Spread | None


def load(path: ExitCosts, mix: Mix, draws: Draws) -> Load:
    """Return what the host's state costs on `mix`; nothing a second where the mix has no rate."""
    ticks = _on(mix, path.at, draws)
    if mix.per_second is None or draws.prices.clock is None:
        return Load(path.path, mix.name, spread(ticks), None, None)
    rate = draws.uniform(f"rate of {mix.name}", mix.per_second)
    clock = draws.uniform("tsc_mhz", draws.prices.clock)
    percent = 100 * ticks * rate / (clock * 1e6)
    return Load(path.path, mix.name, spread(ticks), spread(ticks * rate), spread(percent))


def sweep(paths: Sequence[ExitCosts], shares: Sequence[float], draws: Draws) -> Floats:
    """Return 5 %, median and 95 % of what an exit costs: an array of shares × paths × 3.

    Mixes are taken some at a time, so that memory does not grow with their number.
    """
    found = np.empty((len(shares), len(paths), 3))
    ranks = [round(q * (draws.n - 1)) for q in (0.05, 0.5, 0.95)]
    for first in range(0, len(shares), 64):
        part = shares[first : first + 64]
        vectors = np.stack([draws.vector(path.at(share)) for share in part for path in paths])
        values = vectors @ draws.table.T
        values.partition(ranks, axis=1)
        found[first : first + len(part)] = values[:, ranks].reshape(len(part), len(paths), 3)
    return found


def _uniform(name: str, low: float, high: float, n: int, seed: int) -> Floats:
    random = np.random.default_rng([seed, crc32(name.encode())])
    return random.uniform(low, high, n)


class _Condition(NamedTuple):
    """A published difference of two prices: `event` less `other` is `value`, give or take `sd`."""

    costs: str
    event: str
    other: str
    value: float
    sd: float


@cache
def _conditions() -> tuple[_Condition, ...]:
    return tuple(
        _Condition(row["price_list"], row["event"], row["other"], float(row["value"]), float(row["sd"]))
        for row in rows("conditions")
    )


def _joint(costs: PriceList, events: Mapping[str, int], n: int, seed: int) -> Iterable[tuple[str, Floats]]:
    """Draw the pairs of prices that a published difference ties together, if they are those of its list.

    A pair of independent draws is kept with the difference's likelihood.  Both are drawn where one is wanted,
    so that its draws do not depend on whether the other is.
    """
    for one in _conditions():
        pair = (one.event, one.other)
        if not any(event in events for event in pair) or not all(event in costs for event in pair):
            continue
        of = prices(one.costs)
        if any(costs[event][:3] != of[event][:3] for event in pair):
            continue
        name, tries = f"{one.event} - {one.other}", 16 * n
        a, b = (_uniform(f"{event}: {name}", *costs[event][0:3:2], tries, seed) for event in pair)
        distance = (a - b - one.value) / one.sd
        kept = np.flatnonzero(_uniform(f"kept: {name}", 0, 1, tries, seed) < np.exp(-0.5 * distance**2))[:n]
        if len(kept) < n:
            raise PriceError(
                f"the intervals of {one.event} and {one.other} hardly allow the difference of {one.value:g} "
                "in conditions.csv; widen them, or take the row out"
            )
        yield one.event, a[kept]
        yield one.other, b[kept]
