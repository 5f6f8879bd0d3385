"""collect: take what learners handed in out of the exchange, an LMS's archive or a folder."""

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from .. import release
from ..bar import bar
from ..classes import collect, deadlines, layouts, roster
from . import DONE, LOOK, as_json, class_argument, json_argument, many, nobody

HELP = "take submissions into the class"
EXAMPLES = """\
  python -m autograder collect ~/spring /srv/exchange/svmlib    nbgrader's exchange
  python -m autograder collect ~/spring submissions.zip         Canvas or Moodle: told from the names
  python -m autograder collect ~/spring moodle.zip --worksheet Grades.csv     with exact times
  python -m autograder collect ~/spring inbox/                  STUDENT/EXERCISE/….ipynb, STUDENT/….ipynb
  python -m autograder collect ~/spring a.ipynb --student s07 --when "2026-12-01 20:15"

Files are matched by their contents, too, so a renamed notebook is found. What is here already is not taken
twice.
Exit code 3: some file is nobody's or no exercise's, and is kept in the class's unknown/, or was refused.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What `collect` takes."""
    class_argument(parser)
    parser.add_argument("place", type=Path, metavar="FROM", help="a folder, a zip or one notebook")
    parser.add_argument(
        "--layout", choices=layouts.KINDS, default="", help="how it is packed (default: told from the names)"
    )
    parser.add_argument(
        "--worksheet", type=Path, metavar="FILE", help="Moodle's grading worksheet, which has exact times"
    )
    parser.add_argument("--student", default="", metavar="ID", help="all of it is this student's")
    parser.add_argument(
        "--when", default="", metavar="TIME", help='when all of it was handed in: "2026-12-01 20:15"'
    )
    json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Collect, and name every file that needs a look."""
    folder = release.existing(options.folder)
    deadlines.check(folder)
    with bar("collecting", "file", _entries(folder, options)) as came_in:
        entries = list(came_in)
    counts = Counter(one.outcome for one in entries)
    lost = any(one.outcome.startswith("unknown") for one in entries)
    odd = lost or counts["refused"]
    if options.json:
        print(as_json([one._asdict() for one in entries]))
        return LOOK if odd else DONE
    for one in entries:
        if one.is_odd:
            print(one)
    print(
        f"{many(len(entries), 'file')}: "
        + ", ".join(f"{counts[o]:,} {o}" for o in collect.OUTCOMES if counts[o])
    )
    kept = f"are kept in {folder / 'unknown'}"
    if counts["unknown student"]:
        print(f"Files of nobody {kept}: collect CLASS FILE --student ID takes one in.")
    if counts["unknown exercise"]:
        print(f"Files of no exercise that is released {kept}: release it, then collect the same again.")
    return LOOK if odd else DONE


def _entries(folder: Path, options: argparse.Namespace) -> Iterator[collect.Entry]:
    zone = deadlines.time_zone(release.facts(folder).get("zone", "UTC"), f"{folder / 'class.json'}, zone")
    times = collect.worksheet_times(options.worksheet, zone) if options.worksheet else None
    if options.worksheet:
        _, listed = roster.import_list(options.worksheet)
        _learn_numbers(folder, listed)
    when = deadlines.moment(options.when, zone, "--when") if options.when else None
    if options.student and (people := roster.read(folder)) and options.student not in people:
        raise nobody(options.student, people)
    return collect.collect(
        folder, options.place, kind=options.layout, times=times, student=options.student, when=when
    )


def _learn_numbers(folder: Path, listed: list[roster.Student]) -> None:
    """A worksheet's participant numbers, entered beside the students whom its addresses and names tell."""
    students = roster.read(folder)
    by_email = {one.email.casefold(): name for name, one in students.items() if one.email}
    for one in listed:
        student = by_email.get(one.email.casefold()) or collect.by_name(one.name, students.values())
        if student:
            students[student] = students[student]._replace(moodle=one.moodle)
    roster.write(folder, students.values())
