"""Which of two paths is cheaper, as a function of f, the share of exits that go on to user space.

A path costs kernel + f·(user − kernel) ticks an exit.  Two paths are compared by the difference of their
event counts, so that a price which both pay is one price and not two.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

from .bills import Bill
from .prices import PriceError, PriceList, Ticks

#: A path's bills: of an exit that is handled in the "kernel" and of one that goes on to "user" space.
Bills = Mapping[str, Bill]
#: Event -> how often; a difference of two paths may be negative.
Counts = Mapping[str, float]


class BreakEven(NamedTuple):
    """Where path A is cheaper than path B."""

    #: A less B, in ticks: on every exit, and what each vcpu_put adds to that.
    every_exit: Ticks
    each_put: Ticks
    #: "below" or "above" the share; "always" and "never" are those of the nominal prices.
    wins: str
    #: The share of exits to user space, 0 to 1: nominal, and the interval over all prices in theirs.
    share: float
    low: float
    high: float

    def __str__(self) -> str:
        """Write the share at which the paths cost the same, and its interval."""
        side = "above" if self.wins == "above" else "below"
        ends = [_word(share, side) for share in (self.low, self.high)]
        nominal = self.wins if self.wins in ("always", "never") else f"{side} {self.share:.2f}"
        return f"{nominal} ({'–'.join(ends)})"


def _word(share: float, side: str) -> str:
    if 0 < share < 1:
        return f"{share:.2f}"
    return "never" if (share <= 0) == (side == "below") else "always"


def break_even(a: Bills, b: Bills) -> BreakEven:
    """Return the share of exits to user space below which `a` is cheaper than `b`.

    PriceError where the bills are not of one price list.
    """
    prices, kernel, user = _differences(a, b)
    put = {event: times - kernel[event] for event, times in user.items()}
    at_kernel, at_user = prices.total(kernel).nominal, prices.total(user).nominal
    if at_kernel >= 0 > at_user:
        wins = "above"
        share, low, high = (1 - share for share in _below(prices, user, kernel))
        low, high = high, low
    else:
        wins = "below" if at_kernel < 0 <= at_user else "always" if at_kernel < 0 else "never"
        share, low, high = _below(prices, kernel, user)
    return BreakEven(prices.total(kernel), prices.total(put), wins, share, low, high)


def difference(a: Bills, b: Bills, share: float) -> Ticks:
    """Return what `a` costs more than `b`, in ticks an exit, where `share` of the exits go to user space."""
    prices, kernel, user = _differences(a, b)
    return prices.total(_mix(kernel, user, share))


def _differences(a: Bills, b: Bills) -> tuple[PriceList, dict[str, float], dict[str, float]]:
    prices = a["kernel"].prices
    for bill in (*a.values(), *b.values()):
        if bill.prices is not prices:
            both = f"{prices.name} and {bill.prices.name}"
            raise PriceError(f"bills on two price lists cannot be compared: {both}; price both on one")
    counts = [bills[kind].events for kind in ("kernel", "user") for bills in (a, b)]
    events = dict.fromkeys(event for count in counts for event in count)
    kernel_a, kernel_b, user_a, user_b = counts
    kernel = {event: float(kernel_a[event] - kernel_b[event]) for event in events}
    return prices, kernel, {event: float(user_a[event] - user_b[event]) for event in events}


def _mix(kernel: Counts, user: Counts, share: float) -> dict[str, float]:
    return {event: (1 - share) * times + share * user[event] for event, times in kernel.items()}


def _below(prices: PriceList, kernel: Counts, user: Counts) -> tuple[float, float, float]:
    """Return the share up to which the difference is negative: nominally, surely, and possibly.

    Each bound of the difference is straight between the shares at which an event's count changes its sign.
    """
    ends = {0.0, 1.0}
    for event, times in kernel.items():
        if times * user[event] < 0:
            ends.add(times / (times - user[event]))
    shares = sorted(ends)
    totals = [prices.total(_mix(kernel, user, share)) for share in shares]
    low, nominal, high = (_roots(shares, bound) for bound in zip(*totals, strict=True))
    return nominal[0], high[0], low[-1]


def _roots(shares: list[float], values: tuple[float, ...]) -> list[float]:
    """Return where the line through the points stops being negative: 0 if it never is, 1 if it always is."""
    found = [] if values[0] < 0 else [0.0]
    pairs = list(zip(shares, values, strict=True))
    for (x, y), (x_next, y_next) in pairwise(pairs):
        if y < 0 <= y_next:
            found.append(x + (x_next - x) * y / (y - y_next))
    return found if values[-1] >= 0 else [*found, 1.0]
