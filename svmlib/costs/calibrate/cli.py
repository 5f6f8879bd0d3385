"""python -m svmlib calibrate: measure this machine, or read what the image measured, as a price list.

Without options a C program is compiled and measures what user mode can, in about two seconds, without root
and without the network.  The privileged instructions take an image that boots on the bare machine.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ..lists import read_file
from ..prices import PriceError
from . import listing
from .building import CalibrationError, user_program, write_image
from .report import Report, parse
from .text import as_json

_EXAMPLES = """\
examples:
  python -m svmlib calibrate                            measure here; print a distribution of each event
  python -m svmlib calibrate mine.csv                   and write a price list: --prices mine.csv takes it
  python -m svmlib calibrate --image stick.img          make an image that measures the privileged part
  python -m svmlib calibrate --read REPORT.TXT all.csv  what that image wrote, as a price list

The image is for a USB stick (dd if=stick.img of=/dev/sdX) of a UEFI machine without Secure Boot; a name that
ends in .efi makes the application alone, to start from a boot menu or a UEFI shell.  It has been run under
QEMU and never yet on silicon: it writes nothing but REPORT.TXT on the stick, but it is your machine.
"""
_CPUINFO = Path("/proc/cpuinfo")
_VENDOR = "AuthenticAMD"
_TIMEOUT = 120


def command(commands: Any) -> None:
    """Add `calibrate` to the command line."""
    parser = commands.add_parser(
        "calibrate",
        help="measure prices on your own AMD machine, or make an image that does",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "list", metavar="FILE.csv", type=Path, nargs="?", help="write a price list to this file"
    )
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--read", metavar="REPORT", type=Path, help="read a report instead of measuring")
    either.add_argument("--image", metavar="FILE", type=Path, help="make the image; measure nothing")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command; 2 with one line where it cannot."""
    try:
        if arguments.image:
            return _make_image(arguments)
        report = _read(arguments.read) if arguments.read else measure()
        print(json.dumps(as_json(report), ensure_ascii=False, indent=2) if arguments.json else report)
        if arguments.list:
            _write(report, arguments.list)
    except (CalibrationError, PriceError) as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:
        raise  # who reads our output has seen enough: no mistake of a file's
    except OSError as error:
        here = Path(error.filename or ".").parent
        said = error.strerror if here.is_dir() else f"there is no folder {here}"
        print(f"{error.filename}: {said}", file=sys.stderr)
        return 2
    return 0


def _make_image(arguments: argparse.Namespace) -> int:
    if arguments.list:
        raise CalibrationError("--image measures nothing here: boot it, then --read its REPORT.TXT")
    write_image(arguments.image)
    print(f"{arguments.image} is made; what to do with it: python -m svmlib calibrate --help")
    return 0


def _read(file: Path) -> Report:
    try:
        return parse(file.read_text(encoding="utf-8", errors="replace"))
    except CalibrationError as error:
        raise CalibrationError(f"{file}: {error}") from None


def _write(report: Report, file: Path) -> None:
    if file.suffix != ".csv":
        raise CalibrationError(f"{file}: a price list's name ends in .csv, by which the commands know it")
    file.write_text(listing.as_csv(report), encoding="utf-8")
    try:
        listed = read_file(file)
    except PriceError:
        file.unlink()
        raise
    here = sum(price.source == (listing.SOURCE,) for price in listed.values())
    others = f"{len(listed) - here} are those of {listing.generation(report)}"
    print(f"{file}: {here} prices were measured, {others}", file=sys.stderr)


def measure() -> Report:
    """Compile user.c, run it, and read what it says; CalibrationError where this machine is no such one."""
    check_machine()
    with tempfile.TemporaryDirectory(prefix="svmlib-") as folder:
        program = user_program(Path(folder))
        if sys.stderr.isatty():
            print("Measuring, about two seconds ...", file=sys.stderr)
        try:
            done = subprocess.run(
                [program], check=False, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT
            )
        except subprocess.TimeoutExpired:
            raise CalibrationError(
                f"the program was still measuring after {_TIMEOUT} s; stop other work"
            ) from None
        except OSError as error:  # /tmp may be mounted so that nothing in it runs
            cure = "set TMPDIR to a folder where programs may"
            raise CalibrationError(
                f"the program in {folder} does not start ({error.strerror}); {cure}"
            ) from None
    if done.returncode:
        raise CalibrationError(f"the program ended with status {done.returncode}; does this CPU have RDTSCP?")
    return parse(done.stdout)


def check_machine() -> None:
    """CalibrationError unless this is Linux on an AMD processor."""
    elsewhere = "--image makes a stick that measures an AMD machine, whatever its system"
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "AMD64"):
        what = f"{platform.system()} on {platform.machine()}"
        raise CalibrationError(f"calibrate measures on 64-bit x86 Linux, and this is {what}; {elsewhere}")
    words = (line.partition(":") for line in _CPUINFO.read_text(encoding="utf-8").splitlines())
    vendor = next((value.strip() for name, _, value in words if name.strip() == "vendor_id"), "unknown")
    if vendor != _VENDOR:
        raise CalibrationError(f"calibrate prices AMD processors, and this one is {vendor}'s; {elsewhere}")
