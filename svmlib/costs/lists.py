"""Price lists by name, each built by one rule from the tables of data/.

The rule, event by event, for a list of data/price_lists.csv:

1. the list's own row of data/prices.csv, if it has one;
2. else the verified row of data/measurements.csv that was taken on the list's CPU and says in its column
   `prices` which event it prices;
3. else the price of the list's neighbour, its interval widened by the factor in the column `wider`
   (low divided by it, high multiplied; the nominal stays) and labelled assumed where that factor is above 1.

Core cycles become ticks last, by the list's own core_per_tick, which comes from a neighbour unwidened.  A row
that was not verified (a figure from memory) enters only a list that asks for it, and says so in its note.
"""

import csv
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from ..data import rows
from .prices import CLOCK, CYCLES, LABELS, OWN_UNITS, RATIO, TICKS, UNITS, Price, PriceError, PriceList

#: The list that all others go back to.
ROOT = "epyc-2020"
COLUMNS = ("price_list", "event", "low", "nominal", "high", "unit", "label", "source", "note")
_MINE = "measurements.csv"
_MEMORY = "unverified, from memory: "


def prices(name: str, *, unverified: bool = False) -> PriceList:
    """Return the price list `name`, or the one in a file whose name ends in .csv, with prices.csv's columns.

    PriceError names the lists that there are, or the wrong line.  `unverified`: take the figures from memory,
    too.
    """
    if name.endswith(".csv"):
        return read_file(Path(name))  # anew each time: it may have been measured again
    return _named(name, unverified=unverified)


@cache
def _named(name: str, *, unverified: bool) -> PriceList:
    raw = _raw(name, unverified=unverified)
    remembered = any(price.note.startswith(_MEMORY) for price in raw.values())
    return _finished(f"{name} with figures from memory" if remembered else name, raw)


def names() -> tuple[str, ...]:
    """Return the names of the lists with which a path can be priced."""
    return tuple(
        row["price_list"] for row in rows("price_lists") if row["neighbour"] or row["price_list"] == ROOT
    )


def about(name: str) -> Mapping[str, str]:
    """Return the row of data/price_lists.csv for `name`; PriceError where there is none."""
    for row in rows("price_lists"):
        if row["price_list"] == name:
            return row
    raise PriceError(
        f"no price list {name!r}; there is {', '.join(row['price_list'] for row in rows('price_lists'))}"
    )


def _raw(name: str, *, unverified: bool) -> dict[str, Price]:
    """Return the prices of a list by the rule above, each still in its row's unit."""
    row = about(name)
    found = _own(name, list(enumerate(rows("prices"), 2)), _sources(), "prices.csv")
    for event, price in _measured(row["cpu"], unverified=unverified).items():
        found.setdefault(event, price)
    if row["neighbour"]:
        wider = float(row["wider"])
        for event, price in _raw(row["neighbour"], unverified=unverified).items():
            if event not in found:
                found[event] = price if wider == 1 else _as_there(event, price, row["neighbour"], wider)
    return found


def _sources() -> set[str]:
    return {row["id"] for row in rows("sources")}


def _measured(cpu: str, *, unverified: bool) -> dict[str, Price]:
    found: dict[str, Price] = {}
    for line, row in enumerate(rows("measurements"), 2):
        event = row["prices"]
        if not event or row["cpu"] != cpu or (row["verified"] == "no" and not unverified):
            continue
        where = f"{_MINE}, line {line} ({event})"
        if event in found:
            raise PriceError(
                f"{where}: another row prices this event on {cpu} already; clear one's column `prices`"
            )
        memory = _MEMORY if row["verified"] == "no" else ""
        found[event] = _price(where, {**row, "event": event, "note": memory + row["method"]}, _sources())
    return found


def _as_there(event: str, price: Price, neighbour: str, wider: float) -> Price:
    """Return a neighbour's price with a wider interval; the two rows that are no event's stay as they are."""
    note = price.note if price.note.startswith("as on ") else f"as on {neighbour}: {price.note}"
    if event in OWN_UNITS:
        return price._replace(note=note)
    return price._replace(low=price.low / wider, high=price.high * wider, label="assumed", note=note)


def read(
    name: str, table: Iterable[Mapping[str, str]], sources: set[str], file: str = "prices.csv"
) -> PriceList:
    """Build the price list `name` from the rows of a table alone, each source of which is among `sources`.

    PriceError names the line of `file` (its head is line 1) and what is wrong there.
    """
    numbered = list(enumerate(table, 2))
    found = _own(name, numbered, sources, file)
    if not found:
        known = ", ".join(sorted({row["price_list"] or "" for _, row in numbered})) or "none"
        raise PriceError(f"no price list {name!r}; there is {known}")
    return _finished(name, found)


def read_file(path: Path) -> PriceList:
    """Read the one price list of a CSV file with prices.csv's columns; PriceError names the line."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise PriceError(
                    f"{path}, line 1: no column {', '.join(missing)}; the head is {','.join(COLUMNS)}"
                )
            table = list(reader)
    except OSError as error:
        raise PriceError(
            f"{path} cannot be read: {error.strerror}; give a CSV file, or one of {', '.join(names())}"
        ) from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise PriceError(f"{path} is no CSV table: {error}; the head is {','.join(COLUMNS)}") from None
    for line, row in enumerate(table, 2):
        if None in row.values():
            raise PriceError(f"{path}, line {line}: it ends too early; every line has {len(COLUMNS)} columns")
    found = sorted({row["price_list"] for row in table})
    if len(found) != 1:
        raise PriceError(
            f"{path}: {len(found)} price lists in one file ({', '.join(found) or 'no row'}); keep one"
        )
    return read(found[0], table, _sources(), str(path))


def _own(
    name: str, numbered: list[tuple[int, Mapping[str, str]]], sources: set[str], file: str
) -> dict[str, Price]:
    found: dict[str, Price] = {}
    for line, row in numbered:
        if row["price_list"] != name:
            continue
        where = f"{file}, line {line} ({row['event']})"
        if row["event"] in found:
            raise PriceError(f"{where}: this event has a price in {name} already; keep one")
        found[row["event"]] = _price(where, row, sources)
    return found


def _price(where: str, row: Mapping[str, str], sources: set[str]) -> Price:
    try:
        low, nominal, high = (float(row[column] or "") for column in ("low", "nominal", "high"))
    except ValueError as error:
        raise PriceError(f"{where}: {error}; low, nominal and high have to be numbers") from None
    if not 0 <= low <= nominal <= high or nominal <= 0 or high == float("inf"):
        text = f"low {low:g}, nominal {nominal:g}, high {high:g}"
        raise PriceError(f"{where}: {text}; write 0 ≤ low ≤ nominal ≤ high with nominal above 0")
    units = (OWN_UNITS[row["event"]],) if row["event"] in OWN_UNITS else UNITS
    for column, known in (("unit", units), ("label", tuple(LABELS))):
        if row[column] not in known:
            raise PriceError(f"{where}: unknown {column} {row[column]!r}; write {' or '.join(known)}")
    source = tuple((row["source"] or "").split())
    if not source or not sources.issuperset(source):
        missing = " ".join(one for one in source if one not in sources) or "none given"
        raise PriceError(f"{where}: unknown source: {missing}; add it to svmlib/data/sources.csv")
    return Price(low, nominal, high, row["unit"], row["label"], source, row["note"])


def _finished(name: str, raw: Mapping[str, Price]) -> PriceList:
    ratio = raw.get(RATIO)
    events = {event: _in_ticks(event, price, ratio) for event, price in raw.items() if event not in OWN_UNITS}
    return PriceList(name, events, ratio, raw.get(CLOCK))


def _in_ticks(event: str, price: Price, ratio: Price | None) -> Price:
    if price.unit == TICKS:
        return price
    if ratio is None or not ratio.low:
        raise PriceError(f"{event} is in {CYCLES}, but its price list has no {RATIO} above 0; add that row")
    return price._replace(
        low=price.low / ratio.high, nominal=price.nominal / ratio.nominal, high=price.high / ratio.low
    )
