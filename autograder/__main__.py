"""The command line: python -m autograder grade."""

import argparse
import sys
import time
from pathlib import Path

from . import notebooks, release, report, sample

EXAMPLES = """\
examples:
  python -m autograder grade                                  the sample class, in your data folder
  python -m autograder grade ~/spring --submissions inbox/    a class of your own
  python -m autograder grade ~/spring                         the same again: what is graded is kept
  python -m autograder grade --me                             your own copies in work/

The inbox holds STUDENT/EXERCISE/EXERCISE.ipynb. Marks by hand are given in formgrader:
cd to the class folder, start `jupyter lab`, open Nbgrader > Formgrader.
"""


def main(argv: list[str] | None = None) -> int:
    """Run a command; 0 when it did its work, failed submissions included."""
    parser = argparse.ArgumentParser(prog="python -m autograder", description="Grade the course's exercises.")
    commands = parser.add_subparsers(dest="command")
    grade = commands.add_parser(
        "grade",
        help="grade a class, or your own work",
        epilog=EXAMPLES,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    grade.add_argument(
        "class_folder", nargs="?", type=Path, metavar="CLASS", help="the class folder, outside the repository"
    )
    grade.add_argument(
        "--submissions", type=Path, metavar="DIR", help="submissions to copy into the class first"
    )
    grade.add_argument(
        "--csv",
        type=Path,
        metavar="FILE",
        help="where the marks go (default: grades.csv in the class folder)",
    )
    grade.add_argument("--json", action="store_true", help="print the marks as JSON")
    grade.add_argument("--me", action="store_true", help="grade your own copies in work/")
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help()
        return 0
    try:
        return grade_me(arguments) if arguments.me else grade_class(arguments)
    except (notebooks.ScriptError, release.ReleaseError, sample.SampleError) as error:
        print(error, file=sys.stderr)
        return 1


def grade_class(arguments: argparse.Namespace) -> int:
    """Grade a class, print its table and write its CSV."""
    from .grade import WARNING, grade

    if arguments.submissions and not arguments.submissions.is_dir():
        raise release.ReleaseError(f"{arguments.submissions} is not a folder with submissions")
    folder = arguments.class_folder or release.default_folder()
    if arguments.submissions and not arguments.class_folder:
        raise release.ReleaseError(
            "name the class folder, too: python -m autograder grade CLASS --submissions DIR"
        )
    print(WARNING, file=sys.stderr)
    began = time.monotonic()
    rows = grade(folder, arguments.submissions)
    path = arguments.csv or folder / "grades.csv"
    report.write_csv(rows, path)
    if arguments.json:
        print(report.as_json(rows))
        return 0
    print(f"\n{report.table(rows)}\n")
    print(f"{len(rows)} submissions in {time.monotonic() - began:.0f} s. Marks: {path}")
    print(f"Marks by hand: cd {folder}; jupyter lab; Nbgrader > Formgrader")
    return 0


def grade_me(arguments: argparse.Namespace) -> int:
    """Grade the learner's own copies."""
    from tqdm import tqdm

    from . import me

    scripts = notebooks.scripts(notebooks.ROOT / "solutions")
    mine = [me.grade(script) for script in tqdm(scripts, desc="grading", unit="exercise")]
    if arguments.json:
        print(report.as_json([one.row for one in mine]))
    else:
        print("\n\n".join(me.text(one) for one in mine))
    return 0


if __name__ == "__main__":
    sys.exit(main())
