"""The bill of a trace: how often each event happened in each part of a path, times its price."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..data import rows
from ..trace import Step
from . import text
from .cache import cold
from .prices import PriceList, Ticks
from .terms import AROUND, PLAIN, Terms, around, switched

#: A path's function -> the part of the bill that it is on.
PARTS = {
    "vcpu_load": "save",
    "prepare_switch_to_guest": "save",
    "vcpu_enter_exit": "enter/exit",
    "prepare_host_switch": "restore",
    "on_user_return": "restore",
}


class Line(NamedTuple):
    """One event on a bill: how often, and what all of that costs in ticks."""

    event: str
    times: int
    low: float
    nominal: float
    high: float
    label: str


class Bill(NamedTuple):
    """What a path's steps cost: a vector of event counts, and the price list that is applied to it."""

    prices: PriceList
    #: Part of the path -> event of the price list -> how often.
    counts: Mapping[str, Mapping[str, int]]

    @property
    def events(self) -> Counter[str]:
        """How often each event happened, in the order of the first time."""
        total: Counter[str] = Counter()
        for part in self.counts.values():
            total.update(part)
        return total

    @property
    def lines(self) -> list[Line]:
        """One line an event, in the order in which they first happened."""
        return [
            Line(event, times, *self.prices.total({event: times}), self.prices[event].label)
            for event, times in self.events.items()
        ]

    @property
    def total(self) -> Ticks:
        """All of it: nominal, and the interval from every price at its low to every one at its high end."""
        return self.prices.total(self.events)

    @property
    def low(self) -> float:
        """The total in ticks, every price at its low end."""
        return self.total.low

    @property
    def nominal(self) -> float:
        """The total in ticks, every price nominal."""
        return self.total.nominal

    @property
    def high(self) -> float:
        """The total in ticks, every price at its high end."""
        return self.total.high

    @property
    def instructions(self) -> int:
        """How many instructions of the path were executed; #VMEXIT, faults, what is around it are none."""
        none = AROUND | {"shutdown"}
        return sum(times for event, times in self.events.items() if event[0] != "#" and event not in none)

    def by_part(self) -> dict[str, "Bill"]:
        """Return the bills of the parts: "save", "enter/exit" and "restore"."""
        parts = dict.fromkeys([*PARTS.values(), *self.counts])
        return {part: Bill(self.prices, {part: self.counts.get(part, {})}) for part in parts}

    def sources(self) -> list[str]:
        """Return the sources of the prices on this bill: title, where, date."""
        used = {source for event in self.events for source in self.prices[event].source}
        found = (row for row in rows("sources") if row["id"] in used)
        return [f"{row['title']} ({row['where']}, {row['date']})" for row in found]

    def __str__(self) -> str:
        """Write the bill as an aligned table."""
        return text.plain(self)

    def _repr_html_(self) -> str:
        return text.html(self)


def bill(steps: Iterable[Step], prices: PriceList, terms: Terms = PLAIN) -> Bill:
    """Price the steps of a path's functions; the kernel around it (no phase) is the same for all, and free.

    With other `terms` there are more parts: "cache", "KVM", "user space".  Raises PriceError, naming event
    and list, for a step that the list has no price for.
    """
    steps = list(steps)
    counts: dict[str, Counter[str]] = {}
    guest = None if terms.switch else next((s.operand for s in steps if s.event == "VMRUN"), None)
    for step in steps:
        if step.phase and (event := switched(prices.event(step), step.operand, guest, terms)):
            part = PARTS.get(step.phase, step.phase)
            counts.setdefault(part, Counter())[event] += step.times
    if terms.cache:
        counts["cache"] = +cold(steps, terms.cache)
    exits, users = (sum(step.event == event for step in steps) for event in ("#VMEXIT", "SYSRET"))
    return Bill(prices, counts | around(exits, users, terms))
