"""Prices: what an event costs, as an interval with a label and a source, and lists of them.

Ticks are of the TSC.  A row in core cycles is converted by its list's own `core_per_tick`, which is an
interval too, so the conversion widens what it converts.  How a list is put together: lists.py.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ..trace import Step

#: How a price is known, best first, with the glyph that stands for it beside a number.
LABELS = {
    "published": ("●", "a number that someone published"),
    "derived": ("◐", "computed from published numbers"),
    "measured": ("◆", "measured by us, on another machine"),
    "assumed": ("○", "nothing published: an assumption"),
}
#: The rows of a list that are no event's: core cycles in a tick, and ticks in a microsecond.
RATIO, CLOCK = "core_per_tick", "tsc_mhz"
TICKS, CYCLES = "ticks", "core cycles"
#: The units that a row may have; the two rows that are no event's have their own.
UNITS = (TICKS, CYCLES)
OWN_UNITS = {RATIO: "core cycles per tick", CLOCK: "MHz"}


class PriceError(ValueError):
    """A price list that does not exist, contradicts itself, or lacks what was asked for."""


class Ticks(NamedTuple):
    """A number of TSC ticks: nominal, and the interval in which it lies."""

    low: float
    nominal: float
    high: float

    def __str__(self) -> str:
        """Write the nominal value with its interval."""
        return f"{tidy(self.nominal)} ({self.interval})"

    @property
    def interval(self) -> str:
        """The interval as text."""
        return f"{tidy(self.low)}{' to ' if self.low < 0 else '–'}{tidy(self.high)}"


def tidy(ticks: float) -> str:
    """Write `ticks` in whole ones, below ten to a tenth where there is one, with a true minus sign."""
    text = f"{ticks:,.0f}" if abs(ticks) >= 10 or abs(ticks - round(ticks)) < 0.05 else f"{ticks:.1f}"
    return "0" if text == "-0" else text.replace("-", "−")


class Price(NamedTuple):
    """What one event costs, in ticks, and how that is known."""

    low: float
    nominal: float
    high: float
    #: The unit of the row: "ticks", or "core cycles" that were converted.
    unit: str
    #: One of LABELS.
    label: str
    #: Ids of data/sources.csv.
    source: tuple[str, ...]
    #: How the number came about, in a clause.
    note: str = ""


class PriceList(Mapping[str, Price]):
    """Event -> Price.  A variant of an event may have a price of its own: "WRMSR TSC_AUX", "MOV Sreg,r null".

    Another list for a what-if: `prices("epyc-2020").but(VMLOAD=(300, 300, 300))`, or from prices of one's own
    `PriceList("mine", {**prices("epyc-2020"), "VMLOAD": my_price})`.
    """

    def __init__(
        self, name: str, of_event: Mapping[str, Price], ratio: Price | None = None, clock: Price | None = None
    ):
        """Name a list that charges `of_event`, prices in ticks; its core cycles in a tick, its TSC's MHz."""
        self.name = name
        self.ratio = ratio
        self.clock = clock
        self._prices = dict(of_event)

    def but(self, **prices: tuple[float, float, float]) -> "PriceList":
        """Return this list with other prices, event=(low, nominal, high) in ticks, labelled assumed.

        Events that are no Python names: `.but(**{"WRMSR TSC_AUX": (60, 70, 80)})`.
        """
        changed = {}
        for event, interval in prices.items():
            low, nominal, high = interval
            if not 0 <= low <= nominal <= high or not 0 < nominal < float("inf"):
                raise PriceError(
                    f"{event}: low {low:g}, nominal {nominal:g}, high {high:g}; "
                    "write 0 ≤ low ≤ nominal ≤ high with nominal above 0"
                )
            source = self._prices[event].source if event in self._prices else ("unpublished",)
            changed[event] = Price(low, nominal, high, TICKS, "assumed", source, "changed by hand")
        name = f"{self.name} with other {', '.join(prices)}" if prices else self.name
        return PriceList(name, {**self._prices, **changed}, self.ratio, self.clock)

    def __getitem__(self, event: str) -> Price:
        """Return the price of `event`; PriceError, naming event and list, where there is none."""
        try:
            return self._prices[event]
        except KeyError:
            raise PriceError(
                f"the price list {self.name} has no price for {event}; add a row to svmlib/data/prices.csv"
            ) from None

    def __contains__(self, event: object) -> bool:
        """Tell whether `event` has a row."""
        return event in self._prices

    def __iter__(self) -> Iterator[str]:
        """Walk the events in the order of the table."""
        return iter(self._prices)

    def __len__(self) -> int:
        """Count the events."""
        return len(self._prices)

    def __repr__(self) -> str:
        """Say which list, and how long."""
        return f"<PriceList {self.name}: {len(self)} events>"

    def event(self, step: Step) -> str:
        """Return the most specific event with a price for `step`; PriceError, naming it, where none is."""
        for event in _variants(step):
            if event in self._prices:
                return event
        self[step.event]
        return step.event

    def of(self, step: Step) -> Price:
        """Return the price of `step` done once; PriceError, naming its event, where there is none."""
        return self._prices[self.event(step)]

    def total(self, times: Mapping[str, float]) -> Ticks:
        """Price a vector of event counts.

        Counts may be negative, as in the difference of two bills: each price is then taken once for both, at
        whichever end of its interval makes the total lowest or highest.
        """
        low = nominal = high = 0.0
        for event, count in times.items():
            price = self[event]
            low += count * (price.low if count > 0 else price.high)
            nominal += count * price.nominal
            high += count * (price.high if count > 0 else price.low)
        return Ticks(low, nominal, high)


def _variants(step: Step) -> Iterator[str]:
    if step.event == "MOV Sreg,r" and step.value is not None and not step.value & ~3:
        yield f"{step.event} null"  # a selector with index 0 of the GDT, whatever its RPL
    if isinstance(step.operand, str):
        yield f"{step.event} {step.operand}"
    yield step.event
