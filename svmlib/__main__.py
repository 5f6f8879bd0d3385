"""The command line: python -m svmlib COMMAND.  A command is a module whose `command` adds it."""

import argparse
import io
import os
import sys

from . import __version__, compare, explore, matrix, mix, mutations
from .bugs import command as bugs
from .costs import MixError, PriceError, calibrate
from .decide import command as decide
from .emulators import emulate, fuzz

COMMANDS = (bugs, calibrate, compare, decide, emulate, explore, fuzz, matrix, mix, mutations)

_EXAMPLES = """\
examples:
  python -m svmlib compare            the four paths side by side
  python -m svmlib explore lazy       is there any order of exits and events that breaks it?
  python -m svmlib matrix             every design on every kind of host: safe, or why not
  python -m svmlib bugs               the bugs on record, and each of them run
  python -m svmlib costs              which is cheaper on which host, and how sure that is
  python -m svmlib emulate leak.txt   a program of yours on the model, QEMU and Bochs
  python -m svmlib mix exits.txt      a recording of real exits, replayed with every path
  python -m svmlib calibrate mine.csv what your own AMD machine takes, as a price list
  python -m svmlib fuzz --engine qemu random programs on the model and on QEMU
  python -m svmlib compare --help     what a command can do

exit status: 0, it did its work; 1, it found a difference, a bug or a path that breaks; 2, it could not do
what was asked, and says why.
"""


def main(argv: list[str] | None = None) -> int:
    """Run a command: 0 when it did its work, 1 when it found something wrong, 2 when it could not."""
    parser = argparse.ArgumentParser(
        prog="python -m svmlib",
        description="A model of AMD SVM's host state across #VMEXIT.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"svmlib {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for module in COMMANDS:
        module.command(commands)
    arguments = parser.parse_args(argv)
    if not hasattr(arguments, "run"):
        parser.print_help()
        return 0
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a code page without the minus sign is no reason to fail
    try:
        status = int(arguments.run(arguments))
        sys.stdout.flush()
    except (MixError, PriceError, ModuleNotFoundError) as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader has seen enough: `| head`; what is left goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
