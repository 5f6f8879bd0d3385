"""grade: run the submissions of a class, or a learner's own copies."""

import argparse
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from .. import notebooks, release, report
from . import DONE, LOOK, WAITS, json_argument, many, say

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..classes.entries import Change
    from ..classes.outcomes import Outcome

HELP = "grade a class, or your own work"
EXAMPLES = """\
  python -m autograder grade                                  the sample class, in your data folder
  python -m autograder grade ~/spring                         what is graded and has not changed is kept
  python -m autograder grade ~/spring --submissions inbox/    collect first
  python -m autograder grade ~/spring --yes                   let marks move without asking
  python -m autograder grade ~/spring --scheduler tls://dask.example.org:8786    on a cluster
  python -m autograder grade --me                             your own copies in work/

Submissions are run in a sandbox and judged outside it. A mark that exists does not move by itself: old and
new are shown, and a yes is asked for. Interrupting is safe, the same command goes on. Marks by hand are given
in formgrader: cd to the class folder, start `jupyter lab`, open Nbgrader > Formgrader. It counts a bonus
among the full marks: what is 17/22 there is 17/20 here.

exit codes: 3 something failed or tampered; 4 marks wait for a yes.
"""
SHOWN = 40  # changes that are listed


def arguments(parser: argparse.ArgumentParser) -> None:
    """What `grade` takes."""
    parser.add_argument(
        "folder", nargs="?", type=Path, metavar="CLASS", help="the class folder, outside the repository"
    )
    parser.add_argument(
        "--submissions", type=Path, metavar="FROM", help="submissions to collect first: a folder or a zip"
    )
    parser.add_argument(
        "--csv",
        type=Path,
        metavar="FILE",
        help="where the marks go (default: grades.csv in the class folder)",
    )
    parser.add_argument("--me", action="store_true", help="grade your own copies in work/")
    parser.add_argument("--yes", action="store_true", help="let marks that exist move without asking")
    parser.add_argument("--workers", type=int, metavar="N", help="how many at a time (default: one a core)")
    parser.add_argument(
        "--trusted", action="store_true", help="run submissions even where too little protects from them"
    )
    parser.add_argument(
        "--engine",
        choices=("judge", "kernel"),
        default="judge",
        help="kernel: stock kernels, for audits; trusted submissions only",
    )
    parser.add_argument(
        "--scheduler",
        default="",
        metavar="ADDRESS",
        help="a dask scheduler; its certificates as dask is told",
    )
    json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Grade a class, print its table and write its CSV."""
    if options.me:
        return grade_me(options)
    if os.name == "nt":
        raise release.ReleaseError(
            "Windows itself runs no submission: grade in WSL 2 or a container (README.md, If you teach)"
        )
    from .. import engine
    from ..classes import outcomes
    from ..grade import always, grade

    folder = release.existing(options.folder) if options.folder else release.default_folder()
    if options.submissions and not options.folder:
        raise release.ReleaseError(
            "name the class folder, too: python -m autograder grade CLASS --submissions FROM"
        )
    if options.engine == "kernel" and not options.trusted:
        raise release.ReleaseError(
            "stock kernels protect from nothing: add --trusted if you trust the learners"
        )
    path = options.csv or folder / "grades.csv"
    if options.csv:
        release.require_place(options.csv)
    settings = engine.Options(
        workers=options.workers, trusted=options.trusted, kernel=options.engine == "kernel"
    )
    asked = _Question(always=options.yes)
    began = time.monotonic()
    by = engine.grade
    if options.scheduler:
        from ..classes import cluster

        by = cluster.engine(options.scheduler)
    accept = asked if options.folder else always
    rows = grade(folder, options.submissions, options=settings, accept=accept, by=by, tell=say)
    release.write(path, report.as_csv(rows))
    counts = Counter(row.status for row in rows)
    if options.json:
        print(report.as_json(rows))
    else:
        _show(rows, counts, folder)
        if said := protection(outcomes.read(folder).values()):
            print(said)
        print(f"The marks, after {time.monotonic() - began:.0f} s: {path}")
        print(f"Marks by hand: cd {folder}; jupyter lab; Nbgrader > Formgrader")
    if asked.refused:
        say("Marks that would move, listed above the table, wait for a yes: repeat it with --yes.")
        return WAITS
    is_odd = bool(options.folder) and (counts["failed"] or counts["tampered"])
    return LOOK if is_odd else DONE


def _show(rows: list[report.Row], counts: Counter[str], folder: Path) -> None:
    """The whole table of a small class; of a large one, what needs a look."""
    if len(rows) <= 200:
        print(f"\n{report.table(rows)}\n")
    else:
        odd = [row for row in rows if row.status in ("failed", "tampered")]
        for row in odd[:SHOWN]:
            print(f"{row.student} {row.exercise}: {row}")
        print(f"All of them: python -m autograder marks {folder}")
    print(", ".join(f"{counts[one]:,} {one}" for one in report.STATUSES if counts[one]))


def protection(said: "Iterable[Outcome]") -> str:
    """What protected from the submissions, by how many of them.

    A stock kernel has no layer, an old journal has none on record, a cluster's machines may differ.
    """
    counts = Counter(one.layers for one in said)
    return "\n".join(
        f"{many(count, 'submission')} ran behind {', '.join(layers)}."
        if layers
        else f"{many(count, 'submission')}: nothing is on record that protected from them."
        for layers, count in counts.most_common()
    )


class _Question:
    """Whether marks that exist may move: shown, asked once, and remembered."""

    def __init__(self, *, always: bool):
        self.always, self.refused = always, False

    def __call__(self, changes: list["Change"]) -> bool:
        for one in changes[:SHOWN]:
            old, new = ("none" if mark is None else f"{mark:g}" for mark in (one.old, one.new))
            say(f"{one.student} {one.exercise} {one.cell}: {old} -> {new}")
        if len(changes) > SHOWN:
            say(f"… and {len(changes) - SHOWN:,} more")
        students = many(len({(one.student, one.exercise) for one in changes}), "submission")
        if self.always:
            return True
        if sys.stdin.isatty():
            say(f"{many(len(changes), 'mark')} of {students} would move.")
            self.refused = input("Enter the new ones? Type yes: ").strip().lower() != "yes"
        else:
            say(f"{many(len(changes), 'mark')} of {students} would move, and did not.")
            self.refused = True
        return not self.refused


def grade_me(options: argparse.Namespace) -> int:
    """Grade the learner's own copies."""
    from .. import me
    from ..bar import bar

    scripts = notebooks.scripts(notebooks.ROOT / "solutions")
    with bar("grading", "exercise", scripts) as watched:
        mine = [me.grade(script) for script in watched]
    if options.json:
        print(report.as_json([one.row for one in mine]))
    else:
        print("\n\n".join(me.text(one) for one in mine))
    return DONE
