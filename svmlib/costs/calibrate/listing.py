"""A report as a price list: what was measured, and for the rest the list of the processor's generation.

The file has the columns of data/prices.csv, so that every command that takes a price list takes it.
"""

import csv
import io
from collections.abc import Iterator
from statistics import median

from ...data import rows
from ..lists import COLUMNS, ROOT, _raw
from ..prices import CLOCK, OWN_UNITS, RATIO, TICKS, Price
from .building import CalibrationError
from .report import Measured, Report

#: What measured rows are called in the column `source`.
SOURCE = "calibrate"
#: Nothing is free, and a price has to be above 0.
_LEAST = 0.01


def generation(report: Report) -> str:
    """The price list of the processor's generation; the one that all go back to where it is unknown."""
    for row in rows("families"):
        first, last = int(row["first_model"], 16), int(row["last_model"], 16)
        if int(row["family"], 16) == report.family and first <= report.model <= last:
            return row["price_list"]
    return ROOT


def as_csv(report: Report) -> str:
    """Write a complete price list; CalibrationError where the numbers must not become prices."""
    if report.refused:
        raise CalibrationError(f"no price list: {report.refused}")
    name = f"measured-{report.date}"
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for event, price in prices(report).items():
        numbers = [f"{value:.6g}" for value in (price.low, price.nominal, price.high)]
        known = (price.unit, price.label, " ".join(price.source), price.note)
        writer.writerow([name, event, *numbers, *known])
    return text.getvalue()


def prices(report: Report) -> dict[str, Price]:
    """The prices of such a list by event: measured ones first."""
    measured = dict(_measured(report))
    base = _raw(generation(report), unverified=False)
    for event in base:
        of_it = [
            price
            for name, price in measured.items()
            if name.startswith(f"{event} ") and event not in measured
        ]
        if of_it and event not in _ALONE:
            measured[event] = _together(of_it)
    return measured | {event: price for event, price in base.items() if event not in measured}


#: Events whose longer names are no variants of them, but sequences or another state of the cache.
_ALONE = ("VMRUN", "CLGI", "STI")


def _measured(report: Report) -> Iterator[tuple[str, Price]]:
    where = f"{report.machine}, {report.date}"
    low, nominal, high = report.core_per_tick
    yield (
        RATIO,
        _price(low, nominal, high, f"a chain of ADDs, one core cycle each; {where}", OWN_UNITS[RATIO]),
    )
    mhz = report.tsc_khz / 1000
    yield CLOCK, _price(mhz, mhz, mhz, f"the time-stamp counter against the clock; {where}", OWN_UNITS[CLOCK])
    for event, found in report.events.items():
        if event != "ADD":
            low, nominal, high = (max(_LEAST, value) for value in (found.low, found.median, found.high))
            yield event, _price(low, nominal, high, f"{_how(event, found, report)}; {where}")


def _how(event: str, found: Measured, report: Report) -> str:
    what = f"{found.times} at a time" if found.times > 1 else "one at a time"
    if report.virtual and event.startswith("CPUID"):
        what += f", an exit to the hypervisor ({report.hypervisor}) and back"
    return f"median and 5 to 95 % of {report.blocks} blocks, {what}"


def _price(low: float, nominal: float, high: float, note: str, unit: str = TICKS) -> Price:
    return Price(low, nominal, high, unit, "measured", (SOURCE,), note)


def _together(variants: list[Price]) -> Price:
    """The price of an event of which only variants were measured, as WRMSR of each MSR."""
    first = variants[0]
    note = f"the {len(variants)} variants that were measured, together; {first.note.partition('; ')[2]}"
    return first._replace(
        low=min(price.low for price in variants),
        nominal=median(price.nominal for price in variants),
        high=max(price.high for price in variants),
        note=note,
    )
