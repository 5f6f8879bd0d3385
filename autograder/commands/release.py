"""release: freeze exercises in the class, and make what learners get."""

import argparse
from pathlib import Path

from .. import notebooks, release
from ..bar import bar
from . import DONE, class_argument

HELP = "freeze exercises in the class, and make the learners' notebooks"
EXAMPLES = """\
  python -m autograder release ~/spring                           all exercises
  python -m autograder release ~/spring 01_legacy_path            one of them, the others later
  python -m autograder release ~/spring --from ~/my-solutions     your own sources
  python -m autograder release ~/spring 01_legacy_path --again    take its source and the library anew

From the first release on the class grades with its own copy of svmlib and of the sources: seed, prices and
budgets stay as they are when the course is upgraded.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What `release` takes."""
    class_argument(parser)
    parser.add_argument("exercises", nargs="*", metavar="EXERCISE", help="which (default: all)")
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        default=notebooks.ROOT / "solutions",
        metavar="DIR",
        help="the folder of the sources (default: solutions/)",
    )
    parser.add_argument(
        "--again", action="store_true", help="replace what was released; the next grading shows what moves"
    )


def run(options: argparse.Namespace) -> int:
    """Release, an exercise at a time."""
    folder = release.existing(options.folder)
    if not options.source.is_dir():
        raise release.ReleaseError(f"{options.source} is no folder")
    by_name = {script.stem: script for script in notebooks.scripts(options.source)}
    if unknown := [name for name in options.exercises if name not in by_name]:
        has = ", ".join(by_name) or "it holds no NN_topic.py"
        raise release.ReleaseError(f"{options.source} has no exercise {', '.join(unknown)}: {has}")
    chosen = [by_name[name] for name in options.exercises or by_name]
    if not chosen:
        raise release.ReleaseError(f"{options.source} holds no NN_topic.py")
    before = set(release.facts(folder)["exercises"])
    with bar("releasing", "exercise", chosen) as scripts:
        for script in scripts:
            release.release(folder, [script], again=options.again)
    for script in chosen:
        word = "released again" if script.stem in before and options.again else "released"
        print(f"{script.stem}: {word if script.stem not in before or options.again else 'as it was'}")
    print(f"For learners: {folder / 'release'}")
    return DONE
