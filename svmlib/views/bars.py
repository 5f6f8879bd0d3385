"""Bills side by side: stacked bars with their intervals, and the same numbers as a table."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from .marks import STYLE, Html, own_patterns, table

_LEFT, _RIGHT, _WIDTH, _ROW, _BAR, _TOP, _LINE = 140, 160, 640, 40, 20, 30, 20
#: Fill, colour of the text on it, and the stroke that is drawn over the fill, "" for none.
_LOOKS = (
    ("#0072B2", "#FFFFFF", ""),
    ("#E69F00", "#000000", "M0 8L8 0"),
    ("#56B4E9", "#000000", "M4 0V8"),
    ("#CC79A7", "#000000", "M0 0L8 8"),
    ("#009E73", "#FFFFFF", "M0 4H8"),
    ("#F0E442", "#000000", "M0 4H8M4 0V8"),
)


class _Ticks(NamedTuple):
    low: float
    nominal: float
    high: float


def compare_bars(
    bills: Mapping[str, Mapping[str, Any]], title: str = "Ticks by path", unit: str = "ticks"
) -> Html:
    """Draw `bills`, name -> part -> number, as stacked bars with low–high whiskers, and as a table.

    A number is one number, (low, nominal, high), or anything with these three attributes, as `Bill.by_part()`
    gives.  ValueError where there is nothing to draw.
    """
    read = {name: {part: _ticks(value) for part, value in parts.items()} for name, parts in bills.items()}
    parts = tuple(dict.fromkeys(part for each in read.values() for part in each))
    if not parts:
        raise ValueError(
            "no bills to compare; give name -> part -> ticks, or (low, nominal, high) for the ticks"
        )
    picture, numbers = _svg(read, parts, title, unit), _table(read, parts, title, unit)
    return Html(f'{STYLE}<div class="svm wide">{picture}{numbers}</div>')


def _ticks(value: Any) -> _Ticks:
    if isinstance(value, int | float):
        return _Ticks(value, value, value)
    if hasattr(value, "nominal"):
        return _Ticks(value.low, value.nominal, value.high)
    return _Ticks(*value)


def _total(parts: Mapping[str, _Ticks]) -> _Ticks:
    low, nominal, high = (sum(column) for column in zip(*parts.values(), strict=True)) if parts else (0, 0, 0)
    return _Ticks(low, nominal, high)


def _svg(bills: Mapping[str, Mapping[str, _Ticks]], parts: Sequence[str], title: str, unit: str) -> str:
    most = max(_total(each).high for each in bills.values()) or 1
    scale = (_WIDTH - _LEFT - _RIGHT) / most
    whiskers = any(_total(each).low < _total(each).high for each in bills.values())
    looks = {part: at for at, part in enumerate(parts)}
    rows = "".join(
        _row(name, each, looks, scale, _TOP + _ROW * at) for at, (name, each) in enumerate(bills.items())
    )
    below = _TOP + _ROW * len(bills)
    legend, height = _legend(parts, below + 20, whiskers=whiskers)
    said = "; ".join(f"{name}: {_said(_total(each))} {unit}" for name, each in bills.items())
    return own_patterns(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" '
        'style="max-width:100%;height:auto" role="img" font-family="system-ui,sans-serif" font-size="12" '
        'fill="currentColor">'
        f"<title>{escape(title)}</title><desc>{escape(said)}.</desc>{_patterns(len(parts))}"
        f'<text x="8" y="18" font-weight="bold">{escape(title)}</text>'
        f"{rows}{legend}</svg>"
    )


def _patterns(count: int) -> str:
    made = []
    for at in range(count):
        fill, _, path = _LOOKS[at % len(_LOOKS)]
        made.append(
            f'<pattern id="svm-bar{at}" width="8" height="8" patternUnits="userSpaceOnUse"><rect width="8" '
            f'height="8" fill="{fill}"/><path d="{path}" stroke="#000000" stroke-opacity=".35"/></pattern>'
        )
    return f"<defs>{''.join(made)}</defs>"


def _row(name: str, parts: Mapping[str, _Ticks], looks: Mapping[str, int], scale: float, y: int) -> str:
    drawn = [f'<text x="{_LEFT - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>']
    x = float(_LEFT)
    for part, ticks in parts.items():
        width = ticks.nominal * scale
        drawn.append(_segment(x, y, width, looks[part], part, ticks))
        x += width
    total = _total(parts)
    low, high, middle = _LEFT + total.low * scale, _LEFT + total.high * scale, y + _BAR + 6
    if low < high:
        whisker = f"M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 4}v8M{high:.1f} {middle - 4}v8"
        drawn.append(f'<path d="{whisker}" stroke="currentColor" stroke-width="1.5"/>')
    drawn.append(f'<text x="{max(x, high) + 8:.1f}" y="{y + 15}">{_said(total)}</text>')
    return "".join(drawn)


def _segment(x: float, y: int, width: float, look: int, part: str, ticks: _Ticks) -> str:
    fill, colour, path = _LOOKS[look % len(_LOOKS)]
    label = next((text for text in (part, f"{ticks.nominal:,.0f}") if width > 7 * len(text) + 6), "")
    halo = f' stroke="{fill}" stroke-width="4" paint-order="stroke"' if path else ""
    return (
        f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_BAR}" fill="url(#svm-bar{look})" '
        f'stroke="currentColor" stroke-width=".7"><title>{escape(part)}: {_said(ticks)}</title></rect>'
        f'<text x="{x + width / 2:.1f}" y="{y + 14}" text-anchor="middle" fill="{colour}"{halo}>'
        f"{escape(label)}</text>"
    )


def _legend(parts: Sequence[str], y: int, *, whiskers: bool) -> tuple[str, int]:
    """Return what the looks mean, in as many lines as that takes, and the height of the whole picture."""
    drawn, x = [], 8
    for at, part in enumerate(parts):
        width = 36 + 8 * len(part)
        if x > 8 and x + width > _WIDTH:
            x, y = 8, y + _LINE
        drawn.append(
            f'<rect x="{x}" y="{y - 10}" width="16" height="12" fill="url(#svm-bar{at})" '
            f'stroke="currentColor"/><text x="{x + 21}" y="{y}">{escape(part)}</text>'
        )
        x += width
    if whiskers:
        y += _LINE
        drawn.append(f'<text x="8" y="{y}">├─┤ from every price low to every price high</text>')
    return "".join(drawn), y + 10


def _said(ticks: _Ticks) -> str:
    if ticks.low == ticks.high:
        return f"{ticks.nominal:,.0f}"
    return f"{ticks.nominal:,.0f} ({ticks.low:,.0f}–{ticks.high:,.0f})"


def _table(bills: Mapping[str, Mapping[str, _Ticks]], parts: Sequence[str], title: str, unit: str) -> str:
    """Return the numbers, with what there is more of, parts or paths, going down the page."""
    zero = _Ticks(0, 0, 0)
    said = [
        [*(_said(each.get(part, zero)) for part in parts), _said(_total(each))] for each in bills.values()
    ]
    head, first, body = ("path", *parts, "total"), list(bills), said
    if len(parts) > len(bills):
        head, first, body = ("part", *bills), [*parts, "total"], list(map(list, zip(*said, strict=True)))
    lines = [(name, *cells) for name, cells in zip(first, body, strict=True)]
    return table(f"{title}: {unit}, nominal (low–high)", head, lines)
