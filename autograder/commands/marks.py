"""marks: a class's marks on the terminal, a page at a time, and as a page for the browser."""

import argparse
from collections import Counter
from pathlib import Path

from .. import release, report
from ..classes import marks, pages
from ..report import STATUSES, Row
from . import DONE, class_argument, json_argument, many, nobody, require_exercises

HELP = "show the marks"
EXAMPLES = """\
  python -m autograder marks ~/spring                          counts, and the first page
  python -m autograder marks ~/spring --page 7
  python -m autograder marks ~/spring --status failed --exercise 01_legacy_path
  python -m autograder marks ~/spring --student s07
  python -m autograder marks ~/spring --html marks.html        a page that sorts and searches
"""
PAGE = 50


def arguments(parser: argparse.ArgumentParser) -> None:
    """What `marks` takes."""
    class_argument(parser)
    parser.add_argument("--exercise", action="append", default=[], metavar="NAME", help="only this one")
    parser.add_argument("--student", default="", metavar="ID", help="only this student")
    parser.add_argument("--status", choices=STATUSES, help="only these")
    parser.add_argument("--page", type=int, default=1, metavar="N", help=f"which {PAGE} (default: the first)")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page for the browser instead")
    json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Show what was asked for."""
    folder = release.existing(options.folder)
    require_exercises(folder, options.exercise)
    everybody = marks.rows(folder, options.exercise)
    students = dict.fromkeys(row.student for row in everybody)
    if options.student and options.student not in students:
        raise nobody(options.student, students)
    rows = [
        row
        for row in everybody
        if (not options.student or row.student == options.student)
        and (not options.status or row.status == options.status)
    ]
    if options.html:
        release.write(options.html, pages.marks(rows))
        print(f"{many(len(rows), 'mark')}: {options.html}")
    elif options.json:
        print(report.as_json(rows))
    else:
        show(rows, options.page)
    return DONE


def show(rows: list[Row], page: int) -> None:
    """A page of rows and what there is in all."""
    from tabulate import tabulate

    last = max(1, -(-len(rows) // PAGE))
    page = min(max(1, page), last)
    shown = rows[(page - 1) * PAGE : page * PAGE]
    lines = [
        [row.student, row.exercise, row.status, str(row), "" if row.final is None else f"{row.final:g}"]
        for row in shown
    ]
    heads = ["student", "exercise", "status", "marks", "final"]
    print(tabulate(lines, headers=heads, maxcolwidths=[None, None, None, 50, None]))
    for line in report.footnotes(shown):
        print(line)
    counts = Counter(row.status for row in rows)
    said = ", ".join(f"{counts[one]:,} {one}" for one in STATUSES if counts[one])
    print(f"\n{many(len(rows), 'mark')}: {said or 'none'}. Page {page} of {last}.")
