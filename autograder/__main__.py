"""The command line: python -m autograder COMMAND; each command is a module of commands/."""

import argparse
import errno
import sys
from importlib import import_module

try:
    from . import notebooks, release, sample
    from .commands import REFUSED
except ModuleNotFoundError as error:
    sys.exit(
        f"This Python, {sys.executable}, has no package {error.name}. Use the course's environment, which "
        "make course sets up: source .venv/bin/activate"
    )

COMMANDS = (
    "new",
    "roster",
    "release",
    "collect",
    "grade",
    "marks",
    "feedback",
    "report",
    "export",
    "forget",
    "doctor",
)
ABOUT = "Run a class: make its folder, release, collect, grade, give back."
EPILOG = """\
`python -m autograder COMMAND --help` shows a command's examples. `python -m autograder grade` with nothing
more grades the sample class; `grade --me` your own copies in work/.

exit codes: 0 all is well; 1 it could not be done; 2 called wrongly; 3 done, and something needs a look; 4 it
waits for a yes.
"""
FULL = (errno.ENOSPC, errno.EDQUOT)
ROOM = "Make room, then give the same command again: what was done is kept, and it goes on from there."


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    shape = argparse.RawTextHelpFormatter
    top = argparse.ArgumentParser(
        prog="python -m autograder", description=ABOUT, epilog=EPILOG, formatter_class=shape
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    for name in COMMANDS:
        module = import_module(f".commands.{name}", __package__)
        one = commands.add_parser(
            name,
            help=module.HELP,
            description=module.HELP[:1].upper() + module.HELP[1:] + ".",
            epilog=f"examples:\n{module.EXAMPLES}",
            formatter_class=shape,
        )
        module.arguments(one)
        one.set_defaults(run=module.run)
    return top


def main(argv: list[str] | None = None) -> int:
    """Run a command; what it returns is for the shell."""
    top = parser()
    options = top.parse_args(argv)
    if options.command is None:
        top.print_help()
        return 0
    try:
        return int(options.run(options))
    except (notebooks.ScriptError, release.ReleaseError, sample.SampleError) as error:
        print(error, file=sys.stderr)
        return REFUSED
    except OSError as error:
        if error.errno not in FULL:
            raise
        where = error.filename or getattr(options, "folder", None) or "the disk"
        print(f"{where}: {error.strerror}. {ROOM}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print("\nStopped. What was done is kept; the same command goes on from here.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
