"""forget: delete all that a class has of one student."""

import argparse
import sys

from .. import release
from ..classes import attempts, forget, roster
from . import DONE, LOOK, WAITS, class_argument, nobody, several

HELP = "delete all that the class has of one student"
EXAMPLES = """\
  python -m autograder forget ~/spring s07          shows what there is, and asks
  python -m autograder forget ~/spring s07 --yes    does not ask

Marks by hand go, too, and nothing of it comes back. The exchange, the LMS, backups and files that you
exported are not touched.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What `forget` takes."""
    class_argument(parser)
    parser.add_argument("student", metavar="STUDENT", help="the student's id")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(options: argparse.Namespace) -> int:
    """Show, ask, delete, and look whether the id is left anywhere."""
    folder, student = release.existing(options.folder), options.student
    known = {*roster.read(folder), *(one.student for one in attempts.read(folder))}
    if student not in known and not forget.places(folder, student):
        raise nobody(student, known)
    if not options.yes:
        print(f"{student} has {len(forget.places(folder, student))} folders in {folder}.")
        if not sys.stdin.isatty():
            print("Nothing was deleted: repeat it with --yes.")
            return WAITS
        if input(f"Type {student} to delete everything of theirs: ").strip() != student:
            print("Nothing was deleted.")
            return WAITS
    for line in forget.forget(folder, student):
        print(f"deleted: {line}")
    if left := forget.mentions(folder, student):
        print(
            f"The id still stands in {several([str(path.relative_to(folder)) for path in left])}: look there."
        )
        return LOOK
    return DONE
