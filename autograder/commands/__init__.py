"""The sub-commands of python -m autograder, a module each: HELP, EXAMPLES, arguments(parser), run(options).

A command returns what the shell sees: 0 all is well; 1 it could not be done; 2 it was called wrongly; 3 it is
done and something needs a look (a failed submission, a file of nobody); 4 it waits for a yes.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

from ..release import ReleaseError, facts

DONE, REFUSED, LOOK, WAITS = 0, 1, 3, 4


def class_argument(parser: argparse.ArgumentParser) -> None:
    """The class folder, which most commands take first."""
    parser.add_argument("folder", type=Path, metavar="CLASS", help="the class folder, outside the repository")


def json_argument(parser: argparse.ArgumentParser) -> None:
    """--json, for a machine to read."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def require_exercises(folder: Path, names: Sequence[str]) -> None:
    """Refuse a name that is none of the class's exercises, with those that are."""
    known = facts(folder)["exercises"]
    if strange := [name for name in names if name not in known]:
        raise ReleaseError(
            f"the class has no exercise {', '.join(strange)}: {', '.join(known) or 'nothing is released'}"
        )


def nobody(student: str, known: Iterable[str]) -> ReleaseError:
    """What is said of an id that nobody in the class has, with those that are nearly it."""
    near = get_close_matches(student, list(known), 3)
    return ReleaseError(f'nobody in the class is "{student}"' + f"; is it {' or '.join(near)}?" * bool(near))


def say(text: str) -> None:
    """A line beside the result, which stays out of a pipe."""
    print(text, file=sys.stderr)


def as_json(value: object) -> str:
    """What --json prints."""
    return json.dumps(value, indent=1, default=str)


def many(count: int, word: str) -> str:
    """A number and its noun: 1 file, 2 files."""
    return f"{count:,} {word}{'s' * (count != 1)}"


def several(names: Sequence[str], most: int = 10) -> str:
    """Some names, and how many more there are."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
