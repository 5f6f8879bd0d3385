"""What is known and how well, as tables: the rows on an event, the calibration, the hosts' answers."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from ..costs import targets
from ..costs.evidence import evidence as rows_on
from .marks import STYLE, Html

_WRAP = "white-space:normal;min-width:16em;text-align:left"


def evidence(event: str) -> Html:
    """Return all rows on `event`, conflicting ones and unverified ones marked as what they are."""
    head = ("event", "on", "low", "nominal", "high", "unit", "known", "how")
    body = [(*one[:6], one.known, one.how) for one in rows_on(event)]
    return _page(f"All that is known of {event}", head, body)


def calibration(found: targets.Calibration) -> Html:
    """Return the targets with residuals and status; below them the count, and what is missed and why."""
    head = ("target", "published", "tolerated", "model", "predicted", "residual", "status")
    missed = [f"{one.what}: {one.reason}" for one in found.outcomes if one.status == targets.EXPECTED]
    caption = "The model against what was published; predicted: without the prices derived from that number"
    return _page(caption, head, targets.as_rows(found), [*missed, found.summary()])


def answers(decision: Any) -> Html:
    """Return a decision (svmlib.decide) host by host: each pair's difference, and how sure its sign is."""
    pairs = list(decision.borders)
    head = ("host", "f", *(f"{a} − {b}" for a, b in pairs))
    border = ("border f*", "", *("–" if one is None else str(one) for one in decision.borders.values()))
    hosts = [
        (
            one.name,
            f"{one.f.nominal:.4g}",
            *(f"{found.ticks}: {_sure(found)}" for found in decision.differences[one.name]),
        )
        for one in decision.mixes
    ]
    caption = f"Ticks an exit, median (5 to 95 %), price list {decision.prices.name}"
    notes = [f"{one.name}: {one.title} ({one.label})" for one in decision.mixes]
    return _page(caption, head, [border, *hosts], notes)


def _sure(found: Any) -> str:
    return f"{found.sign}, {max(found.cheaper, 1 - found.cheaper):.0%}" if found.sign != "open" else (
        f"open, {found.a} {found.cheaper:.0%}"
    )  # fmt: skip


def _page(
    caption: str, head: Sequence[str], body: Iterable[Sequence[str]], notes: Iterable[str] = ()
) -> Html:
    """Return a table whose last column may wrap, with sentences below it."""
    columns = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    lines = []
    for first, *others in body:
        cells = "".join(
            f"<td{_style(cell) if at == len(others) - 1 else ''}>{escape(cell)}</td>"
            for at, cell in enumerate(others)
        )
        lines.append(f'<tr><th scope="row">{escape(first)}</th>{cells}</tr>')
    said = "".join(f"<p>{escape(note)}</p>" for note in notes)
    return Html(
        f'{STYLE}<div class="svm" style="overflow-x:auto"><table class="n">'
        f"<caption>{escape(caption)}</caption>"
        f"<thead><tr>{columns}</tr></thead><tbody>{''.join(lines)}</tbody></table>{said}</div>"
    )


def _style(cell: str) -> str:
    return f' style="{_WRAP}"' if len(cell) > 30 else ""
