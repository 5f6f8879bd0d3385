"""feedback: a page for each submission, with marks, reasons and comments."""

import argparse

from .. import release
from ..bar import bar
from ..classes import feedback, roster
from . import DONE, class_argument, many, nobody

HELP = "make the pages that students get back"
EXAMPLES = """\
  python -m autograder feedback ~/spring                     all of them
  python -m autograder feedback ~/spring --student s07       one student's
  cd ~/spring && nbgrader release_feedback 01_legacy_path    hand them out through the exchange

Each page holds one student's work only. Hidden tests are not in it.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What `feedback` takes."""
    class_argument(parser)
    parser.add_argument("--student", default="", metavar="ID", help="only this student's")


def run(options: argparse.Namespace) -> int:
    """Make the pages."""
    folder = release.existing(options.folder)
    rows = feedback.rows(folder, options.student)
    if options.student and not rows:
        raise nobody(options.student, roster.read(folder))
    work = feedback.work(folder, rows)
    with bar("writing", "page", work) as pages:
        for one in pages:
            feedback.write(folder, feedback.make(folder, *one))
    print(f"{many(len(work), 'page')} in {folder / 'feedback'}")
    return DONE
