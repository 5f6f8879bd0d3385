"""Two pictures as SVG: how marks are spread, and bills beside the reference's; each bar with its number."""

from collections.abc import Sequence

from markupsafe import Markup

WIDTH, BAR, GAP = 420, 20, 5


def spread(counts: Sequence[int], labels: Sequence[str], what: str) -> Markup:
    """A bar for each group of marks, as wide as it has submissions."""
    most, height = max([*counts, 1]), len(counts) * (BAR + GAP) + GAP
    parts = [_open(height, what)]
    for place, (count, label) in enumerate(zip(counts, labels, strict=True)):
        y = GAP + place * (BAR + GAP)
        parts.append(_text(70, y, label, anchor="end"))
        parts.append(_bar(80, y, (WIDTH - 140) * count / most))
        parts.append(_text(86 + (WIDTH - 140) * count / most, y, f"{count:,}"))
    return Markup("").join([*parts, Markup("</svg>")])


def ranking(bars: Sequence[tuple[str, float]], reference: float, what: str) -> Markup:
    """A bar for each path's bill; the reference's is a dashed line with its number at the top."""
    most = max([*(ticks for _, ticks in bars), reference, 1.0])
    height = (len(bars) + 1) * (BAR + GAP) + GAP
    parts = [_open(height, what)]
    at = 130 + (WIDTH - 190) * reference / most
    parts.append(_text(at, GAP, f"reference {reference:,.0f}", anchor="middle" if at < WIDTH - 60 else "end"))
    for place, (label, ticks) in enumerate(bars, 1):
        y = GAP + place * (BAR + GAP)
        parts.append(_text(120, y, label, anchor="end"))
        parts.append(_bar(130, y, (WIDTH - 190) * ticks / most))
        parts.append(_text(136 + (WIDTH - 190) * max(ticks, reference) / most, y, f"{ticks:,.0f}"))
    line = Markup('<line class="reference" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>')
    parts.append(line.format(at, GAP + BAR, height))
    return Markup("").join([*parts, Markup("</svg>")])


def _open(height: int, what: str) -> Markup:
    head = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}"><title>{}</title>')
    return head.format(WIDTH, height, what, what)


def _bar(x: float, y: float, width: float) -> Markup:
    rect = Markup('<rect class="bar" x="{:.1f}" y="{}" width="{:.1f}" height="{}"/>')
    return rect.format(x, y, max(width, 0.5), BAR)


def _text(x: float, y: float, text: str, anchor: str = "start") -> Markup:
    label = Markup('<text x="{:.1f}" y="{}" text-anchor="{}" dominant-baseline="middle">{}</text>')
    return label.format(x, y + BAR / 2 + 1, anchor, text)
