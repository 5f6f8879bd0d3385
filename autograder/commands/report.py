"""report: one page about the class, for the browser, without a network."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from .. import release
from ..bar import bar
from ..classes import analysis
from . import DONE, class_argument

HELP = "write a page about the class: spread, costs, mistakes, failures, likeness"
EXAMPLES = """\
  python -m autograder report ~/spring                        report.html in the class folder, pseudonyms
  python -m autograder report ~/spring --names                with names
  python -m autograder report ~/spring --file lecture.html    to show in class
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What `report` takes."""
    class_argument(parser)
    parser.add_argument("--names", action="store_true", help="students' names, not pseudonyms")
    parser.add_argument("--file", type=Path, metavar="FILE", help="where (default: report.html in the class)")


def run(options: argparse.Namespace) -> int:
    """Write the page."""
    folder = release.existing(options.folder)
    path = options.file or folder / "report.html"
    release.require_place(path)
    with bar("comparing", "exercise") as seen:

        def progress(exercises: list[str]) -> Iterator[str]:
            seen.reset(len(exercises))
            for one in exercises:
                yield one
                seen.update()

        page = analysis.report(folder, names=options.names, progress=progress)
    release.write(path, page)
    print(f"The report: {path}")
    return DONE
