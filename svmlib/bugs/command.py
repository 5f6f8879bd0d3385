"""The bugs on record: year, commit, what it was, what somebody noticed; and each of them run.

Exit status 1 says that a scenario did not behave as its row says.
"""

import argparse
import json
import sys
import textwrap
from typing import Any

from . import BUGS, Bug, outcome

_EXAMPLES = """\
examples:
  python -m svmlib bugs              the list
  python -m svmlib bugs B16          one of them, run: the broken variant's story, then the fixed one
  python -m svmlib bugs --json
"""
_WIDTH = 100


def command(commands: Any) -> None:
    """Add `bugs` to the command line."""
    parser = commands.add_parser(
        "bugs",
        help="the bugs on record: year, commit, symptom; or one of them, run",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bug", nargs="*", help="run these, say B16")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_main)


def _main(arguments: argparse.Namespace) -> int:
    names = [name.upper() for name in arguments.bug]
    if unknown := [name for name in names if name not in BUGS]:
        print(f"no bug {', '.join(unknown)}; there are {', '.join(BUGS)}", file=sys.stderr)
        return 2
    if not names:
        print(_json(list(BUGS.values())) if arguments.json else listed())
        return 0
    results = [ran(BUGS[name]) for name in names]
    print(
        json.dumps(results, ensure_ascii=False, indent=2)
        if arguments.json
        else "\n\n".join(map(_told, results))
    )
    return 0 if all(result["as_stated"] for result in results) else 1


def _json(bugs: list[Bug]) -> str:
    return json.dumps([bug._asdict() for bug in bugs], ensure_ascii=False, indent=2)


def listed() -> str:
    """Return the list: a line each with year and commit, the symptom below it."""
    lines = []
    for bug in BUGS.values():
        lines.append(f"{bug.bug}  {bug.year}  {bug.commit:12}  {bug.title}")
        how = f"left out: {bug.symptom}" if bug.by == "left out" else bug.symptom
        lines += textwrap.wrap(how, _WIDTH, initial_indent=" " * 5, subsequent_indent=" " * 5)
    return "\n".join(lines)


def ran(bug: Bug) -> dict[str, Any]:
    """Run a scenario: what its broken and its fixed variant give, and whether that is what its row says."""
    row: dict[str, Any] = {"bug": bug.bug, "year": bug.year, "title": bug.title}
    if bug.by == "left out":
        return row | {"left_out": bug.symptom, "as_stated": True}
    broken, fixed = outcome(bug.module.BROKEN), outcome(bug.module.FIXED)
    if isinstance(broken, str) or isinstance(fixed, str):
        return row | {
            "broken": broken,
            "fixed": fixed or "nothing is noticed",
            "as_stated": bool(broken) and not fixed,
        }
    right = broken.story is not None and bug.rule in ("", broken.story.invariant) and fixed.clean
    return row | {"broken": str(broken), "fixed": str(fixed), "as_stated": right}


def _told(result: dict[str, Any]) -> str:
    head = f"{result['bug']}  {result['year']}  {result['title']}"
    if "left_out" in result:
        return f"{head}\nleft out: {result['left_out']}"
    return f"{head}\n\nbroken: {result['broken']}\n\nfixed: {result['fixed']}"
