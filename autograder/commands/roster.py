"""roster: take the list of a class out of an LMS."""

import argparse
from pathlib import Path

from .. import release
from ..classes import roster
from . import DONE, as_json, class_argument, json_argument, many, several

HELP = "take a list of students into the class"
EXAMPLES = """\
  python -m autograder roster ~/spring grades-SVM101.csv          Canvas: Grades > Export
  python -m autograder roster ~/spring participants.csv           Moodle: Participants > Download
  python -m autograder roster ~/spring list.csv --id "ID number"  that column holds the ids
  python -m autograder roster ~/spring                            show who is in the class

The kind of list is told from its columns. A second list adds and completes; it deletes nobody.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What `roster` takes."""
    class_argument(parser)
    parser.add_argument(
        "list", nargs="?", type=Path, metavar="LIST", help="a CSV file of Canvas, Moodle or your own"
    )
    parser.add_argument(
        "--id",
        default="",
        metavar="COLUMN",
        help="the column of the ids that nbgrader and JupyterHub know (default: the login, else a number)",
    )
    json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Take the list in, or show who is there."""
    folder = release.existing(options.folder)
    if not options.list:
        return show(folder, options)
    kind, listed = roster.import_list(options.list, options.id)
    changes = roster.merge(folder, listed)
    if options.json:
        print(as_json({"kind": kind, **changes._asdict()}))
        return DONE
    print(f"{options.list}: a {kind} with {many(len(listed), 'student')}.")
    for word, names in (("added", changes.added), ("completed", changes.changed)):
        if names:
            print(f"{len(names):,} {word}: {several(names)}")
    if changes.gone:
        print(f"No longer listed, kept until `forget`: {several(changes.gone)}")
    return DONE


def show(folder: Path, options: argparse.Namespace) -> int:
    """Who is in the class."""
    from tabulate import tabulate

    students = roster.read(folder)
    if options.json:
        print(as_json([one._asdict() for one in students.values()]))
        return DONE
    rows = [[one.student, one.name, one.email, one.section, one.listed] for one in students.values()]
    print(tabulate(rows, headers=["student", "name", "email", "section", "listed"], disable_numparse=True))
    print(many(len(students), "student"))
    return DONE
