"""export: marks for Canvas, Moodle, a spreadsheet or a program."""

import argparse
import json
from collections import Counter
from pathlib import Path

from .. import release
from ..classes import export, marks, roster
from ..report import STATUSES
from . import DONE, LOOK, class_argument, many, require_exercises, say, several

HELP = "write the marks for Canvas, Moodle, a spreadsheet or a program"
EXAMPLES = """\
  python -m autograder export ~/spring --to canvas --gradebook grades-SVM101.csv > back.csv
  python -m autograder export ~/spring --to moodle --file back.csv
  python -m autograder export ~/spring --to worksheet --exercise 01_legacy_path --gradebook Grades.csv
  python -m autograder export ~/spring --to json

--gradebook is the file that the LMS exported: its columns' names, ids included, are kept. What is not final
is blank, never 0. Exit code 3: somebody is in the class whom the LMS's list does not have.
"""

#: Why a format leaves somebody out, and what to do.
WITHOUT = {
    "canvas": "Canvas's ids are not in students.csv; `roster CLASS` with Canvas's list enters them",
    "moodle": "no address or ID number is in students.csv; `roster CLASS` with Moodle's list enters them",
    "worksheet": "they are not in that worksheet",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """What `export` takes."""
    class_argument(parser)
    parser.add_argument("--to", choices=export.FORMATS, default="csv", help="the format (default: csv)")
    parser.add_argument("--gradebook", type=Path, metavar="FILE", help="what the LMS exported")
    parser.add_argument(
        "--exercise", action="append", default=[], metavar="NAME", help="only this one; may be repeated"
    )
    parser.add_argument("--file", type=Path, metavar="FILE", help="where to write (default: print)")


def run(options: argparse.Namespace) -> int:
    """Export, and say on the side what is not final."""
    folder = release.existing(options.folder)
    require_exercises(folder, options.exercise)
    rows = marks.rows(folder, options.exercise)
    titles = {name: title(folder, name) for name in release.facts(folder)["exercises"]}
    made = export.export(rows, roster.read(folder), titles, to=options.to, gradebook=options.gradebook)
    if options.file:
        release.write(options.file, made.text)
    else:
        print(made.text, end="")
    counts = Counter(row.status for row in rows)
    say(
        f"{many(len(rows), 'mark')}: "
        + ", ".join(f"{counts[one]:,} {one}" for one in STATUSES if counts[one])
    )
    if made.left_out:
        say(f"Left out, {WITHOUT[options.to]}: {several(made.left_out)}")
    return LOOK if made.left_out else DONE


def title(folder: Path, exercise: str) -> str:
    """An exercise's title, from its release."""
    text = (folder / "release" / exercise / f"{exercise}.ipynb").read_text(encoding="utf-8")
    said = json.loads(text)["metadata"].get("svmlib", {}).get("title", exercise)
    return str(said).replace(" · ", " ")
