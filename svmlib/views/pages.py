"""The 4096 bytes of a VMCB page: what lies where, who carries it, and which bytes an instruction wrote."""

from collections.abc import Callable, Collection
from html import escape

from ..memory import PAGE
from .fields import FIELDS, STORED, Field, stretches
from .marks import Html

_WIDE, _BYTE, _LEFT, _ROW, _TOP, _LABELS = 64, 6, 58, 18, 30, 380
#: Carrier -> fill, and the letter that stands for it.
_LOOKS = {
    "VMSAVE": ("#E69F00", "S", "VMSAVE and VMLOAD"),
    "VMRUN": ("#56B4E9", "R", "VMRUN and #VMEXIT"),
    "control": ("#DDDDDD", "c", "control area"),
    "other": ("#FFFFFF", "–", "software, or not in use"),
}
_MARK = ("#E69F00", "✱")
#: A field -> its fill and the letter in it.
_Look = Callable[[Field], tuple[str, str]]


def vmcb_map() -> Html:
    """Draw a VMCB page as rows of 64 bytes, each field in the look of who carries it; 128 are VMSAVE's."""
    carried = [field for field in FIELDS if field.carrier == "VMSAVE"]
    title = f"A VMCB page, {PAGE} bytes: VMSAVE moves {sum(field.size for field in carried)} of them"
    key = " · ".join(f"{letter}: {text}" for _, letter, text in _LOOKS.values())
    return _draw(title, lambda field: _LOOKS[_carrier(field)][:2], key, carried)


def footprint(before: bytes = b"", after: bytes = b"", at: int = 0) -> Html:
    """Draw a VMCB page and mark the fields whose bytes differ between `before` and `after`, two images of it.

    Parts of a page will do when `at` is the offset of their first byte: `footprint(old, new, pa % 4096)`
    draws what a step's `memory` holds.  Without images it marks what any VMSAVE stores.  ValueError when the
    images are not of one size, or do not fit into a page.
    """
    if len(before) != len(after) or at + len(before) > PAGE:
        sizes = f"{len(before)} and {len(after)} bytes at {at:#x}"
        raise ValueError(f"{sizes} are not two images of one part of a page of {PAGE} bytes")
    differ = {at + i for i, (old, new) in enumerate(zip(before, after, strict=True)) if old != new}
    hit = {f for f in FIELDS if not differ.isdisjoint(range(f.offset, f.offset + f.size))}
    key = f"{_MARK[1]}: a field with bytes that differ; the others are as they were"
    if not after:
        hit, key = (
            set(STORED["VMSAVE"]),
            f"{_MARK[1]}: what VMSAVE stores; the bytes between stay as they were",
        )
    size, places = sum(field.size for field in hit), len(stretches(hit))
    title = f"Written: {len(hit)} fields, {size} bytes in {places} places"

    def look(field: Field) -> tuple[str, str]:
        return _MARK if field in hit else ("#FFFFFF", "")

    return _draw(title, look, key, hit)


def _carrier(field: Field) -> str:
    return field.carrier if field.carrier in _LOOKS else "other"


def _draw(title: str, look: _Look, key: str, bold: Collection[Field]) -> Html:
    lines, y, expected = [], _TOP, 0
    for start in sorted({field.offset // _WIDE * _WIDE for field in FIELDS} | {PAGE}):
        if start > expected:
            lines.append(_gap(expected, start, y))
            y += _ROW
        if start < PAGE:
            lines.append(_line(start, look, bold, y))
            y += _ROW
        expected = start + _WIDE
    width, height = _LEFT + _WIDE * _BYTE + _LABELS, y + 26
    named = ", ".join(field.name for field in FIELDS if field in bold) or "none"
    said = escape(f"{key}. Bold: {named}.")
    return Html(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        'style="max-width:100%;height:auto" role="img" font-family="system-ui,sans-serif" font-size="11">'
        f"<title>{escape(title)}</title><desc>{said}</desc>"
        f'<rect width="{width}" height="{height}" fill="#FFFFFF"/>'
        f'<text x="8" y="18" font-size="13" font-weight="bold">{escape(title)}</text>{"".join(lines)}'
        f'<text x="8" y="{height - 8}">{escape(key)}</text></svg>'
    )


def _line(start: int, look: _Look, bold: Collection[Field], y: int) -> str:
    """Draw 64 bytes: the offset, a box for each field, and the names; those of `bold` stand out."""
    fields = [field for field in FIELDS if start <= field.offset < start + _WIDE]
    boxes = "".join(_box(field, look, _LEFT + (field.offset - start) * _BYTE, y) for field in fields)
    names: dict[str, bool] = {}
    for field in fields:
        stem = "SYSENTER_*" if field.name.startswith("SYSENTER_") else field.name.split(".")[0]
        names[stem] = names.get(stem, False) or field in bold
    said = " ".join(f'<tspan font-weight="bold">{n}</tspan>' if strong else n for n, strong in names.items())
    return (
        f'<text x="{_LEFT - 6}" y="{y + 12}" text-anchor="end" font-family="monospace">{start:#05x}</text>'
        f'<rect x="{_LEFT}" y="{y}" width="{_WIDE * _BYTE}" height="{_ROW - 3}" fill="none" stroke="#999"/>'
        f'{boxes}<text x="{_LEFT + _WIDE * _BYTE + 8}" y="{y + 12}">{said}</text>'
    )


def _box(field: Field, look: _Look, x: int, y: int) -> str:
    fill, letter = look(field)
    width = field.size * _BYTE
    said = f"{field.name}: {field.size} bytes at {field.offset:#x}, {field.carrier}"
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{_ROW - 3}" fill="{fill}" stroke="#000000" '
        f'stroke-width=".7"><title>{escape(said)}</title></rect>'
        f'<text x="{x + width / 2:g}" y="{y + 12}" text-anchor="middle">{letter}</text>'
    )


def _gap(first: int, stop: int, y: int) -> str:
    text = f"{first:#05x}–{stop - 1:#05x}: {stop - first} bytes with no field of the table"
    return f'<text x="{_LEFT}" y="{y + 12}" fill="#555555">{text}</text>'
