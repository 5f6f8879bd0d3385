"""What a student gets back: their own notebook with marks, reasons and comments; no hidden code, nobody else.

A page is made from the notebook as it ran. Locked cells are shown as they were given out, so a hidden test
cannot be seen, and of an error the message alone, for a traceback quotes code. A learner's HTML, scripts and
remote pictures are not shown: the page asks for nothing.
"""

import base64
import binascii
import json
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import mistune
from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from .. import release
from ..report import Row
from . import gradebook, marks, outcomes, pages

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
REMOTE = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
LONGEST = 20_000  # characters of one output
Cell = dict[str, Any]


class Page(NamedTuple):
    """A feedback page: whose, and its text."""

    student: str
    exercise: str
    text: str


class Given(NamedTuple):
    """What was given out as one exercise: its title, and its locked cells by grade id."""

    title: str
    locked: dict[str, str]


def make(folder: Path, row: Row, given: Given, reasons: dict[str, str], comments: dict[str, str]) -> Page:
    """The page of one submission."""
    name = f"{row.exercise}.ipynb"
    notebook = folder / "autograded" / row.student / row.exercise / name
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"] if notebook.is_file() else []
    names = [cell["metadata"].get("nbgrader", {}).get("grade_id") for cell in cells]
    if cells:  # in the notebook's order, not the gradebook's
        order = {name: place for place, name in enumerate(names)}
        marked = sorted(row.cells.items(), key=lambda item: order.get(item[0], len(order)))
        row = row._replace(cells=dict(marked))
    text = pages.render(
        "feedback.html",
        title=given.title,
        row=row,
        cells=[_shown(cell, row, given, reasons, comments) for cell in cells],
        code_css=_code_css(),
    )
    return Page(row.student, row.exercise, text)


def work(folder: Path, rows: list[Row]) -> list[tuple[Row, Given, dict[str, str], dict[str, str]]]:
    """What `make` takes for each submission that has been looked at, failed ones included."""
    said, written = outcomes.read(folder), gradebook.comments(folder)
    given = {name: given_out(folder, name) for name in {row.exercise for row in rows}}
    made = []
    for row in rows:
        if row.status in ("missing", "ungraded", "excused"):
            continue
        place = row.student, row.exercise
        reasons = dict(said[place].reasons) if place in said else {}
        made.append((row, given[row.exercise], reasons, written.get(place, {})))
    return made


def given_out(folder: Path, exercise: str) -> Given:
    """The exercise as learners got it."""
    path = folder / "release" / exercise / f"{exercise}.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    locked = {
        cell["metadata"]["nbgrader"]["grade_id"]: _text(cell["source"])
        for cell in notebook["cells"]
        if cell["metadata"].get("nbgrader", {}).get("locked")
    }
    return Given(str(notebook["metadata"].get("svmlib", {}).get("title", exercise)), locked)


def write(folder: Path, page: Page) -> Path:
    """Put a page where nbgrader's release_feedback looks for it."""
    path = folder / "feedback" / page.student / page.exercise / f"{page.exercise}.html"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    release.write(path, page.text)
    return path


def _shown(
    cell: Cell, row: Row, given: Given, reasons: dict[str, str], comments: dict[str, str]
) -> dict[str, Any]:
    """A cell for the page: its text, its outputs, its mark."""
    block = cell["metadata"].get("nbgrader", {})
    name = block.get("grade_id", "")
    locked = bool(block.get("locked"))
    source = given.locked.get(name, "") if locked else _text(cell["source"])
    source = source.removeprefix(f"# {given.title}\n")  # the page has that heading already
    is_code = cell["cell_type"] == "code"
    outputs = [_output(one, locked=locked) for one in cell.get("outputs", [])] if is_code else []
    reason = reasons.get(name, "")
    is_said = bool(reason) and any(Markup.escape(reason.strip()) in one for one in outputs)
    return {
        "name": name,
        "body": _code(source) if is_code else _markdown(source),
        "outputs": outputs,
        "mark": row.cells.get(name),
        "reason": "" if is_said else reason,
        "comment": comments.get(name, ""),
    }


def _text(source: str | list[str]) -> str:
    return source if isinstance(source, str) else "".join(source)


def _output(output: Cell, *, locked: bool) -> Markup:
    """What a cell put out: its words, and pictures that are bytes; an error by its message."""
    kind = output.get("output_type")
    if kind == "error":
        name, message = str(output.get("ename", "")), str(output.get("evalue", ""))
        return _plain(f"{name}: {message}" if message else name)
    if kind == "stream":
        return _plain(_text(output.get("text", "")))
    data = output.get("data", {})
    if "image/png" in data and not locked:
        try:
            picture = base64.b64encode(base64.b64decode(_text(data["image/png"]))).decode()
        except (binascii.Error, ValueError):
            return _plain("(a picture that cannot be read)")
        return Markup('<img alt="the cell\'s picture" src="data:image/png;base64,{}">').format(picture)
    return _plain(_text(data.get("text/plain", "")))


def _plain(text: str) -> Markup:
    text = ANSI.sub("", text)
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}\n… {len(text) - LONGEST:,} characters more"
    return Markup("<pre>{}</pre>").format(text)


def _code(text: str) -> Markup:
    return Markup(highlight(text, PythonLexer(), HtmlFormatter()))  # noqa: S704  # pygments escapes


@cache
def _code_css() -> Markup:
    light = HtmlFormatter(style="default").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    css = f"{light}\n@media (prefers-color-scheme: dark) {{ {dark} }}"
    return Markup(css.replace("background: #f8f8f8;", ""))  # noqa: S704  # pygments' own


@cache
def _renderer() -> mistune.Markdown:
    return mistune.create_markdown(escape=True, plugins=["table", "strikethrough"])


def _markdown(text: str) -> Markup:
    """A learner's words: raw HTML is shown as text, and a picture from elsewhere is left out."""
    made = str(_renderer()(re.sub(r"^<!--.*?-->\s*$", "", text, flags=re.MULTILINE)))
    return Markup(REMOTE.sub("(a picture)", made))  # noqa: S704  # mistune escapes


def rows(folder: Path, student: str = "") -> list[Row]:
    """Whose pages can be made: everybody's, or one student's."""
    return [row for row in marks.rows(folder) if student in ("", row.student)]
