"""grade: run the submissions of a class, or a learner's own copies."""

import argparse
import time
from pathlib import Path

from .. import notebooks, release, report
from . import DONE, json_argument, say

HELP = "grade a class, or your own work"
EXAMPLES = """\
  python -m autograder grade                                  the sample class, in your data folder
  python -m autograder grade ~/spring                         what is graded and has not changed is kept
  python -m autograder grade ~/spring --submissions inbox/    collect first
  python -m autograder grade --me                             your own copies in work/

Marks by hand are given in formgrader: cd to the class folder, start `jupyter lab`, open Nbgrader >
Formgrader.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What `grade` takes."""
    parser.add_argument(
        "folder", nargs="?", type=Path, metavar="CLASS", help="the class folder, outside the repository"
    )
    parser.add_argument("--submissions", type=Path, metavar="DIR", help="submissions to collect first")
    parser.add_argument(
        "--csv",
        type=Path,
        metavar="FILE",
        help="where the marks go (default: grades.csv in the class folder)",
    )
    parser.add_argument("--me", action="store_true", help="grade your own copies in work/")
    json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Grade a class, print its table and write its CSV."""
    if options.me:
        return grade_me(options)
    from ..grade import WARNING, grade

    if options.submissions and not options.submissions.is_dir():
        raise release.ReleaseError(f"{options.submissions} is not a folder with submissions")
    folder = options.folder or release.default_folder()
    if options.submissions and not options.folder:
        raise release.ReleaseError(
            "name the class folder, too: python -m autograder grade CLASS --submissions DIR"
        )
    say(WARNING)
    began = time.monotonic()
    rows = grade(folder, options.submissions)
    path = options.csv or folder / "grades.csv"
    report.write_csv(rows, path)
    if options.json:
        print(report.as_json(rows))
        return DONE
    print(f"\n{report.table(rows)}\n")
    print(f"{len(rows)} submissions in {time.monotonic() - began:.0f} s. Marks: {path}")
    print(f"Marks by hand: cd {folder}; jupyter lab; Nbgrader > Formgrader")
    return DONE


def grade_me(options: argparse.Namespace) -> int:
    """Grade the learner's own copies."""
    from tqdm import tqdm

    from .. import me

    scripts = notebooks.scripts(notebooks.ROOT / "solutions")
    mine = [me.grade(script) for script in tqdm(scripts, desc="grading", unit="exercise")]
    if options.json:
        print(report.as_json([one.row for one in mine]))
    else:
        print("\n\n".join(me.text(one) for one in mine))
    return DONE
