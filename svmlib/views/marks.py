"""What all views share: owners as glyph, word and colour, numbers as text, and the one style sheet.

Glyph and word carry the information, the colour (Okabe-Ito) repeats it, so that nothing is lost without it.
"""

import hashlib
from collections.abc import Iterable
from html import escape

#: Owner -> glyph, background, text on it, and what the word means.
OWNERS: dict[str, tuple[str, str, str, str]] = {
    "host": ("●", "#0072B2", "#FFFFFF", "what this CPU's host thread had"),
    "guest": ("▲", "#E69F00", "#000000", "a value that the guest chose"),
    "swapped": ("◐", "#56B4E9", "#000000", "the host's, but of the other one of GS.base and KernelGSBase"),
    "neither": ("◆", "#CC79A7", "#000000", "neither the guest's nor what the host had"),
}

STYLE = """<style>
.svm{font:13px/1.45 var(--jp-ui-font-family,system-ui,sans-serif);color:var(--jp-ui-font-color1,inherit)}
.svm p{margin:0 0 4px}
.svm code,.svm td{font-family:var(--jp-code-font-family,monospace);font-size:12px;background:none;
color:inherit}
.svm table{border-collapse:collapse;margin:6px 0;color:inherit}
.svm caption{text-align:left;font-size:12px;padding:0 0 2px;color:inherit}
.svm table th,.svm table td{padding:1px 5px 1px 4px;text-align:left;vertical-align:baseline;
white-space:nowrap;color:inherit;font-size:12px}
.svm tbody{border-top:1px solid #8888}
.svm tbody th{font-weight:normal}
.svm thead th{border-bottom:1px solid #8888}
.svm table.n th+th,.svm table.n td{text-align:right}
.svm small{font-size:10px;opacity:.85}
.svm tr.c{background:rgba(86,180,233,.22);box-shadow:inset 3px 0 #56B4E9}
.svm tr.c th,.svm tr.c td:nth-child(2){font-weight:bold}
.svm tr.c small{font-weight:normal}
.svm .state td:nth-child(4){font:11px var(--jp-ui-font-family,sans-serif)}
.svm .state td:nth-child(4),.svm .state th small{white-space:normal}
.svm .state td:nth-child(4) code{font-size:11px}
.svm .o{display:inline-block;border-radius:3px;padding:0 5px;
font:11.5px/1.45 var(--jp-ui-font-family,sans-serif)}
.svm .f span{display:inline-block;margin:0 12px 2px 0;white-space:nowrap}
.svm .alert{border:2px solid #D55E00;border-left-width:8px;border-radius:3px;padding:6px 10px;margin:6px 0}
.svm .alert p{white-space:pre-line;overflow-wrap:anywhere}
OWNERS
.svm-steps.widget-select{flex-direction:column;align-items:stretch;height:auto}
.svm-steps.widget-select>label{text-align:left;width:auto;max-width:none;overflow:visible}
.svm-steps.widget-select>select{font-family:var(--jp-code-font-family,monospace);font-size:12px;flex:none}
.svm-pane .widget-html-content{line-height:1.45;white-space:normal;overflow-x:auto}
.svm-pane .widget-html{min-width:0;max-width:100%}
.svm.wide{container-type:inline-size;width:100%;overflow-x:auto}
.svm.wide table.n td{white-space:normal}
.svm .r{white-space:nowrap}
@container (max-width:560px){.svm.wide table th,.svm.wide table td{white-space:pre-line!important;
font-size:11px;padding:1px 3px}}
</style>""".replace(
    "OWNERS",
    "\n".join(
        f".svm .{word}{{background:{back};color:{front}}}" for word, (_, back, front, _) in OWNERS.items()
    ),
)


class Html(str):
    """A piece of HTML or SVG: a plain string that a notebook shows rendered."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return str(self)

    def __repr__(self) -> str:
        """Stay short where only text is shown."""
        return f"<Html of {len(self)} characters>"


def own_patterns(svg: str) -> Html:
    """Give the patterns of a picture names of its own.

    The names count in the whole page, and a browser does not fill from a pattern in a cell that is not shown.
    """
    mark = hashlib.sha256(svg.encode()).hexdigest()[:8]
    return Html(svg.replace('id="svm-', f'id="svm-{mark}-').replace("url(#svm-", f"url(#svm-{mark}-"))


def owner_mark(owner: str) -> str:
    """Return `owner` as a chip: glyph, word, then colour."""
    return f'<span class="o {owner}">{OWNERS[owner][0]} {owner}</span>'


def legend() -> str:
    """Return what the owners' words mean, for below a table."""
    marks = (f"{owner_mark(owner)} {escape(OWNERS[owner][3])}" for owner in OWNERS)
    return f'<p class="f"><small>{" ".join(f"<span>{mark}</span>" for mark in marks)}</small></p>'


def number(value: int) -> str:
    """Write a register's value."""
    return f"{value:#x}"


def _with_range(cell: str) -> str:
    """Write a cell; a range in brackets behind its number stays on one line."""
    plain, bracket, rest = escape(cell).partition(" (")
    return f'{plain} <span class="r">({rest}</span>' if bracket else plain


def table(caption: str, head: Iterable[str], body: Iterable[Iterable[str]]) -> str:
    """Return a table of text cells; each row's first cell is its header, the others are right-aligned."""
    head_cells = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    rows = []
    for first, *others in body:
        cells = "".join(f"<td>{_with_range(cell)}</td>" for cell in others)
        rows.append(f'<tr><th scope="row">{escape(first)}</th>{cells}</tr>')
    return (
        f'<table class="n"><caption>{escape(caption)}</caption><thead><tr>{head_cells}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )
