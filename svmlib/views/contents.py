"""The start page's table: the notebooks in reading order, with how far the learner is."""

from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

from .marks import STYLE, Html

if TYPE_CHECKING:
    from ..progress import Row

#: State -> glyph; the word stands beside it.
STATES = {"open": "○", "tried": "◐", "done": "●"}
_NOWHERE = (
    "<p>This notebook lies outside a learner's folder, so no progress is kept. "
    "Type <code>make course</code> in the course's folder: it makes <code>work/</code> and opens it.</p>"
)
#: JupyterLab sets tables to the right, and its style wins over a style sheet's.
_LEFT = 'style="text-align:left;font-family:inherit"'
_HEAD = ("notebook", "kind", "difficulty", "minutes", "you")


def contents(rows: Iterable["Row"]) -> Html:
    """Return the table of notebooks, each linked to its file beside this one; `rows`: progress.overview()."""
    lines = [_line(row) for row in rows]
    if not lines:
        return Html(f'{STYLE}<div class="svm">{_NOWHERE}</div>')
    head = "".join(f'<th scope="col" {_LEFT}>{name}</th>' for name in _HEAD)
    return Html(
        f'{STYLE}<div class="svm"><table><caption>The notebooks in reading order</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _line(row: "Row") -> str:
    link = f'<a href="{escape(row.notebook)}.ipynb">{escape(row.title)}</a>'
    unit = "tests" if row.kind == "exercise" else "cells"
    how_far = f"{STATES[row.state]} {row.state}"
    if row.state == "tried":
        how_far += f", {row.passed} of {row.of} {unit}"
    cells = "".join(
        f"<td {_LEFT}>{cell}</td>" for cell in (row.kind, row.difficulty, str(row.minutes), how_far)
    )
    return f'<tr><th scope="row" {_LEFT}>{link}</th>{cells}</tr>'
