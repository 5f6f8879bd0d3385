"""What is known and how well, as tables: the rows on an event, the calibration, the hosts' answers."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from ..costs import targets
from ..costs.evidence import evidence as rows_on
from ..data import rows
from .marks import STYLE, Html

_LEFT = "text-align:left;white-space:pre-line;vertical-align:top"
_NUMBER = "text-align:left;white-space:pre;vertical-align:top"
#: Cells up to this length keep to one line.
_SHORT = 26


def evidence(event: str) -> Html:
    """Return all rows on `event`, conflicting ones and unverified ones marked as what they are."""
    head = ("event", "on", "low", "nominal", "high", "unit", "known", "how")
    body = [(*one[:6], one.known, one.how) for one in rows_on(event)]
    return _page(f"All that is known of {event}", head, body)


def versions() -> Html:
    """Return the designs that were posted or measured: who saves the host, who restores it, and when."""
    head = ("version", "date", "the host is saved by", "GS base after #VMEXIT", "VMLOAD of the host")
    names = ("version", "date", "host_save", "gs_base", "host_vmload")
    return _page(
        "The series, version by version", head, [[row[name] for name in names] for row in rows("versions")]
    )


def calibration(found: targets.Calibration) -> Html:
    """Return the targets with residuals and status; below them the count, and what is missed and why."""
    head = ("target", "published", "tolerated", "model", "predicted", "residual", "status")
    missed = [f"{one.what}: {one.reason}" for one in found.outcomes if one.status == targets.EXPECTED]
    caption = "The model against what was published; predicted: without the prices derived from that number"
    return _page(caption, head, targets.as_rows(found), [*missed, found.summary()])


def answers(decision: Any) -> Html:
    """Return a decision (svmlib.decide) host by host: each pair's difference, and how sure its sign is."""
    pairs = list(decision.borders)
    head = ("host", "f", *(f"{a}\n− {b}" for a, b in pairs))
    border = ("border f*", "", *("–" if one is None else str(one) for one in decision.borders.values()))
    hosts = [
        (
            f"{one.name}\n{one.label}",
            f"{one.f.nominal:.4g}",
            *(f"{found.ticks}\n{_sure(found)}" for found in decision.differences[one.name]),
        )
        for one in decision.mixes
    ]
    caption = f"A − B in ticks an exit, median (5 to 95 %), price list {decision.prices.name}"
    return _page(caption, head, [border, *hosts], [f"{one.name}: {one.title}" for one in decision.mixes])


def _sure(found: Any) -> str:
    if found.sign == "open":
        return f"open; A wins {found.cheaper:.0%}"
    return f"{'A' if found.cheaper > 0.5 else 'B'} cheaper, {max(found.cheaper, 1 - found.cheaper):.0%}"


def _page(
    caption: str, head: Sequence[str], body: Iterable[Sequence[str]], notes: Iterable[str] = ()
) -> Html:
    """Return a table in which long cells wrap, and in a narrow page all, with sentences below it."""
    names = (escape(cell).replace("_", "_<wbr>") for cell in head)
    columns = "".join(f'<th scope="col" style="{_LEFT}">{name}</th>' for name in names)
    lines = [
        f'<tr><th scope="row" style="{_LEFT}">{escape(first)}</th>'
        + "".join(
            f'<td style="{_LEFT if len(cell) > _SHORT else _NUMBER}">{escape(cell)}</td>' for cell in others
        )
        + "</tr>"
        for first, *others in body
    ]
    said = "".join(f"<p>{escape(note)}</p>" for note in notes)
    return Html(
        f'{STYLE}<div class="svm wide"><table><caption>{escape(caption)}</caption>'
        f"<thead><tr>{columns}</tr></thead><tbody>{''.join(lines)}</tbody></table>{said}</div>"
    )
