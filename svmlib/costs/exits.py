"""What an exit of a path costs, where a given share of the exits reaches vcpu_put.

A path is two bills, of an exit that the kernel handles and of one that ends in vcpu_put; every mix of exits
is those two, weighted, and what cold pages add.  The number of exits does not matter; nothing runs again.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..trace import Step
from .bills import Bill, bill
from .breakeven import Counts
from .cache import PUTS, per_exit, replay
from .prices import PriceList, Ticks
from .terms import PLAIN, Terms, events_of


class ExitCosts(NamedTuple):
    """A path on a price list, under terms: its two bills, and its steps for what the cache makes of them."""

    path: str
    kernel: Bill
    user: Bill
    terms: Terms
    kinds: Mapping[str, list[Step]]

    @property
    def prices(self) -> PriceList:
        """The price list."""
        return self.kernel.prices

    def at(self, share: float) -> dict[str, float]:
        """Return how often each event happens an exit on average, `share` of the exits reaching vcpu_put."""
        counts: dict[str, float] = {}
        for bill_, weight in ((self.kernel, 1 - share), (self.user, share)):
            for event, times in bill_.events.items():
                counts[event] = counts.get(event, 0.0) + weight * times
        if self.terms.cache:
            counts.update(per_exit(self.kinds, share, self.terms.cache))
        return counts

    def ticks(self, share: float) -> Ticks:
        """Return what an exit costs on average: nominal, and from every price low to every price high."""
        return self.prices.total(self.at(share))

    def replay(self, words: Iterable[str]) -> Counter[str]:
        """Return the events of a sequence of exits of one vCPU: "kernel", "user" or "sched" each.

        "sched" is put without going to user space: another thread has the CPU next.
        """
        words = list(words)
        counts: Counter[str] = Counter()
        times = Counter(words)
        away = events_of("user space")
        for word, number in times.items():
            for event, count in (self.user if word in PUTS else self.kernel).events.items():
                if word != "sched" or event not in away:
                    counts[event] += number * count
        if self.terms.cache:
            counts.update(replay(self.kinds, words, self.terms.cache))
        return counts


def exit_costs(
    path: str, kinds: Mapping[str, list[Step]], prices: PriceList, terms: Terms = PLAIN
) -> ExitCosts:
    """Price a path's typical exits, "kernel" and "user" -> steps (svmlib.kvm.run.typical_exits)."""
    warm = terms._replace(cache=None)
    kernel, user = (bill(kinds[kind], prices, warm) for kind in ("kernel", "user"))
    return ExitCosts(path, kernel, user, terms, kinds)


def less(a: Counts, b: Counts) -> dict[str, float]:
    """Return the counts `a` less `b`: an event that both have as often is not in it."""
    found = {event: a.get(event, 0) - b.get(event, 0) for event in (*a, *b)}
    return {event: times for event, times in found.items() if times}
