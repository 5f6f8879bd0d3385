"""doctor: look whether a class, or the hub that serves it, is in order."""

import argparse
from collections import Counter

from .. import release
from ..classes import doctor
from . import DONE, LOOK, as_json, class_argument, json_argument

HELP = "look whether the class, or its JupyterHub, is in order"
EXAMPLES = """\
  python -m autograder doctor ~/spring          modes, what is frozen, database, files, sandbox
  python -m autograder doctor ~/spring --hub    what a JupyterHub on this machine needs

Nothing is changed. Exit code 3: something is amiss; the cure stands below it.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What `doctor` takes."""
    class_argument(parser)
    parser.add_argument("--hub", action="store_true", help="look at what a JupyterHub needs, too")
    json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Look, and say what to do."""
    folder = release.existing(options.folder)
    found = [*doctor.examine(folder), *(doctor.examine_hub(folder) if options.hub else ())]
    if options.json:
        print(as_json([one._asdict() for one in found]))
    else:
        for one in found:
            print(f"{one.state:5}  {one.what}" + (f"\n       -> {one.cure}" if one.cure else ""))
    return LOOK if Counter(one.state for one in found)["amiss"] else DONE
