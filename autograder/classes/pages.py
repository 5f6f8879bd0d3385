"""Pages for the browser: one file each, whole without a network, and forbidden to ask for anything."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from ..report import STATUSES, Row

TEMPLATES = Path(__file__).parent / "templates"
COLUMNS = ("student", "exercise", "status", "raw", "penalty", "final", "out of", "to mark", "reason, remarks")


@cache
def environment() -> jinja2.Environment:
    """The templates; all that is put into one is escaped."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    made.globals["css"] = Markup((TEMPLATES / "page.css").read_text(encoding="utf-8"))  # noqa: S704  # our file
    return made


def render(name: str, **values: Any) -> str:
    """A page of a template."""
    return environment().get_template(name).render(**values)


def data(value: Any) -> Markup:
    """A value as JSON inside a page's script element, which no text in it can end."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    safe = text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return Markup(safe)  # noqa: S704  # made safe in the line before


def marks(rows: list[Row], title: str = "Marks") -> str:
    """All marks as a page that sorts, searches and turns pages, 10,000 of them, too."""
    lines = []
    for row in rows:
        record = row.record()
        said = "; ".join(filter(None, [row.reason, *row.remarks]))
        numbers = [record[name] for name in ("raw", "penalty", "final", "out_of", "awaiting")]
        lines.append(
            [row.student, row.exercise, row.status, *("" if n is None else n for n in numbers), said]
        )
    script = Markup((TEMPLATES / "marks.js").read_text(encoding="utf-8"))  # noqa: S704  # our file
    return render(
        "marks.html",
        title=title,
        rows=rows,
        columns=COLUMNS,
        statuses=STATUSES,
        data=data(lines),
        script=script,
    )
