"""A report as a table and as plain data."""

from typing import Any

from ..lists import prices as price_list
from ..prices import Ticks
from . import listing
from .report import Report

_HEAD = ("event", "at a time", "5 %", "median", "95 %", "core cycles")


def as_text(report: Report) -> str:
    """Write a report as a table: TSC ticks of one execution, and the list of its generation beside them."""
    base_name = listing.generation(report)
    base = price_list(base_name)
    body = []
    for event, found in report.events.items():
        shown = (found.low, found.median, found.high)
        ticks = (f"{value:,.2f}" if found.times > 1 else f"{value:,.0f}" for value in shown)
        core = f"{found.median * report.core_per_tick[1]:,.1f}"
        there = f"{Ticks(*base[event][:3])} {base[event].label}" if event in base else ""
        body.append((event, str(found.times), *ticks, core, there))
    cells = [(*_HEAD, f"in {base_name}"), *body]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = []
    for event, *numbers, beside in cells:
        columns = [f"{number:>{width}}" for number, width in zip(numbers, widths[1:-1], strict=True)]
        lines.append("  ".join([f"{event:<{widths[0]}}", *columns, beside]).rstrip())
    return "\n".join([*_introduction(report), "", *lines, *_caveats(report)])


def _introduction(report: Report) -> list[str]:
    low, ratio, high = report.core_per_tick
    mhz = f"{report.tsc_khz / 1000:,.2f} MHz"
    clock = f"TSC {mhz} in steps of {report.tsc_step}; {ratio:.2f} core cycles a tick ({low:.2f}–{high:.2f})"
    return [
        f"{report.machine}: TSC ticks of one execution, measured in {report.made_by}, {report.date}",
        f"{clock}; {report.blocks} blocks; {report.overhead} ticks of an empty one subtracted",
    ]


def _caveats(report: Report) -> list[str]:
    if report.refused:
        return ["", f"✗ Not prices: {report.refused}."]
    if report.virtual:
        below = f"A hypervisor ({report.hypervisor}) is below"
        return ["", f"{below}: CPUID is an exit to it and the way back, at an unknown depth of nesting."]
    return []


def as_json(report: Report) -> dict[str, Any]:
    """Return a report as plain data."""
    named = {key: value for key, value in report._asdict().items() if key != "events"}
    return named | {
        "unit": "TSC ticks of one execution; low and high are 5 and 95 %",
        "core_per_tick": report.core_per_tick,
        "refused_as_prices": report.refused or None,
        "events": {event: found._asdict() for event, found in report.events.items()},
    }
