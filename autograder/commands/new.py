"""new: a class folder with its own secret, settings and database."""

import argparse

from .. import release
from ..classes import deadlines
from . import DONE, class_argument

HELP = "make a class folder"
EXAMPLES = """\
  python -m autograder new ~/spring
  python -m autograder new ~/spring --course svm-2027 --zone Europe/Berlin --late zero
  python -m autograder new ~/spring --database postgresql+psycopg://teacher@db.example.org/svm

Deadlines are lines of its deadlines.csv; times are the class's, or of the zone in the line. Here a deadline
for all, an extension in another zone, and somebody who is excused:
  exercise,student,due,excused,zone
  01_legacy_path,all,2026-12-01 23:59,,
  01_legacy_path,s07,2026-12-08 23:59,,America/New_York
  02_vmsave_vmload_path,s07,,yes,
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What `new` takes."""
    class_argument(parser)
    parser.add_argument(
        "--course",
        default=release.COURSE,
        metavar="NAME",
        help="its name in nbgrader and in the exchange (default: %(default)s)",
    )
    parser.add_argument(
        "--zone",
        default="UTC",
        metavar="ZONE",
        help="the time zone of deadlines.csv, such as Europe/Berlin (default: %(default)s)",
    )
    parser.add_argument(
        "--late",
        choices=release.LATE,
        default="none",
        help="what a late attempt loses, as in nbgrader's plugin: none, or zero is left (default: none).\n"
        "A plugin of your own is named in nbgrader_config.py",
    )
    parser.add_argument(
        "--database",
        default="",
        metavar="URL",
        help="nbgrader's db_url (default: gradebook.db in the folder)",
    )


def run(options: argparse.Namespace) -> int:
    """Make the folder and say what comes next."""
    deadlines.time_zone(options.zone, "--zone")
    folder = release.new(
        options.folder,
        course=options.course,
        zone=options.zone,
        late=options.late,
        database=options.database,
    )
    release.write(folder / "deadlines.csv", deadlines.HEADER)
    print(f"{folder} is a class now, and yours alone (mode 700). Next:")
    print(f"  python -m autograder roster {folder} LIST.csv")
    print(f"  python -m autograder release {folder}")
    return DONE
