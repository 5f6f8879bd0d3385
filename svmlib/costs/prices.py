"""Price lists: what an event costs, as an interval with a label and a source.

A list is rows of data/prices.csv.  Ticks are of the TSC; a row in core cycles is converted by the list's own
`core_per_tick`, which is an interval too, so the conversion widens what it converts.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import NamedTuple

from ..data import rows
from ..trace import Step

#: How a price is known, best first, with the glyph that stands for it beside a number.
LABELS = {
    "published": ("●", "a number that someone published"),
    "derived": ("◐", "computed from published numbers"),
    "measured": ("◆", "measured by us, on another machine"),
    "assumed": ("○", "nothing published: an assumption"),
}
#: The row that says how many core cycles go into a tick.
RATIO = "core_per_tick"
UNITS = ("ticks", "core cycles")
_RATIO_UNIT = "core cycles per tick"


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

    Another list for a what-if: `PriceList("mine", {**prices("epyc-2020"), "VMLOAD": my_price})`.
    """

    def __init__(self, name: str, of_event: Mapping[str, Price]):
        """Name a list that charges `of_event`, prices in ticks."""
        self.name = name
        self._prices = dict(of_event)

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


@cache
def prices(name: str) -> PriceList:
    """Return the price list `name` of data/prices.csv; PriceError names what there is, or the wrong line."""
    return read(name, rows("prices"), {row["id"] for row in rows("sources")})


def read(name: str, table: Iterable[Mapping[str, str]], sources: set[str]) -> PriceList:
    """Build the price list `name` from the rows of a table, each of whose sources must be among `sources`.

    PriceError names the line of the table (its head is line 1) and what is wrong there.
    """
    numbered = list(enumerate(table, 2))
    own = [(line, row) for line, row in numbered if row["price_list"] == name]
    if not own:
        known = ", ".join(sorted({row["price_list"] for _, row in numbered})) or "none"
        raise PriceError(f"no price list {name!r}; there is {known}")
    found: dict[str, Price] = {}
    for line, row in own:
        where = f"prices.csv, line {line} ({row['event']})"
        if row["event"] in found:
            raise PriceError(f"{where}: this event has a price in {name} already; keep one")
        found[row["event"]] = _price(where, row, sources)
    ratio = found.pop(RATIO, None)
    return PriceList(name, {event: _in_ticks(event, price, ratio) for event, price in found.items()})


def _price(where: str, row: Mapping[str, str], sources: set[str]) -> Price:
    try:
        low, nominal, high = (float(row[column] or "") for column in ("low", "nominal", "high"))
    except ValueError as error:
        raise PriceError(f"{where}: {error}; low, nominal and high have to be numbers") from None
    if not 0 <= low <= nominal <= high or not 0 < nominal < float("inf"):
        text = f"low {low:g}, nominal {nominal:g}, high {high:g}"
        raise PriceError(f"{where}: {text}; write 0 ≤ low ≤ nominal ≤ high with nominal above 0")
    units = (_RATIO_UNIT,) if row["event"] == RATIO else UNITS
    for column, known in (("unit", units), ("label", tuple(LABELS))):
        if row[column] not in known:
            raise PriceError(f"{where}: unknown {column} {row[column]!r}; write {' or '.join(known)}")
    source = tuple((row["source"] or "").split())
    if not source or not sources.issuperset(source):
        missing = " ".join(one for one in source if one not in sources) or "none given"
        raise PriceError(f"{where}: unknown source: {missing}; add it to svmlib/data/sources.csv")
    return Price(low, nominal, high, row["unit"], row["label"], source, row["note"])


def _in_ticks(event: str, price: Price, ratio: Price | None) -> Price:
    if price.unit == "ticks":
        return price
    if ratio is None or not ratio.low:
        raise PriceError(
            f"{event} is in core cycles, but its price list has no {RATIO} above 0; add that row"
        )
    return price._replace(
        low=price.low / ratio.high, nominal=price.nominal / ratio.nominal, high=price.high / ratio.low
    )
