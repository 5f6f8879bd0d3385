"""A bill as text and as HTML: a line an event, the total, and what the glyphs beside the numbers mean."""

from html import escape
from typing import TYPE_CHECKING

from .prices import LABELS, tidy

if TYPE_CHECKING:
    from .bills import Bill

_HEAD = ("event", "times", "ticks", "low–high", "known")


def _cells(bill: "Bill") -> list[tuple[str, ...]]:
    body = [
        (
            line.event,
            str(line.times),
            tidy(line.nominal),
            f"{tidy(line.low)}–{tidy(line.high)}",
            f"{LABELS[line.label][0]} {line.label}",
        )
        for line in bill.lines
    ]
    times = str(sum(bill.events.values()))
    return [*body, ("total", times, tidy(bill.nominal), bill.total.interval, "")]


def _legend(bill: "Bill") -> list[str]:
    used = {line.label for line in bill.lines}
    marks = [f"{glyph} {label}: {words}" for label, (glyph, words) in LABELS.items() if label in used]
    return [f"TSC ticks, price list {bill.prices.name}", *marks]


def plain(bill: "Bill") -> str:
    """Return `bill` as an aligned table with its legend."""
    cells = [_HEAD, *_cells(bill)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(_HEAD))]
    lines = []
    for event, *numbers, known in cells:
        columns = [f"{number:>{width}}" for number, width in zip(numbers, widths[1:-1], strict=True)]
        lines.append("  ".join([f"{event:<{widths[0]}}", *columns, known]).rstrip())
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1], "", *_legend(bill)])


def html(bill: "Bill") -> str:
    """Return `bill` as an HTML table with its legend below it."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in _HEAD)
    body = []
    for event, *numbers, known in _cells(bill):
        cells = "".join(f'<td style="text-align:right">{escape(number)}</td>' for number in numbers)
        body.append(f'<tr><th scope="row">{escape(event)}</th>{cells}<td>{escape(known)}</td></tr>')
    caption, *marks = (escape(line) for line in _legend(bill))
    return (
        f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
        f"<p><small>{'<br>'.join(marks)}</small></p>"
    )
