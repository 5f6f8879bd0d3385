"""Run programs on QEMU's TCG: the ROM instead of firmware, RAM in a file, the log read from that file."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from . import layout as at
from .outcomes import EmulatorError, Outcome, from_log
from .programs import Program
from .rom import Batch, batches

PROGRAM = "qemu-system-x86_64"
#: The version that the profile of this name was made with.
PROFILE, VERSION = "qemu72", "7.2"
PACKAGES = "qemu-system-x86"
#: EPYC, not max: that one has 57-bit linear addresses, and VMLOAD sign-extends from bit 56.  It has vGIF when
#: asked.
_MACHINE = (
    "-accel tcg -machine pc,memory-backend=ram -cpu EPYC,+svm,+vgif -nodefaults -display none -no-reboot"
)
#: isa-debug-exit leaves with 2 * value + 1.
_FINISHED = 1


@cache
def version() -> str:
    """The version of QEMU on PATH; EmulatorError when there is none or it is not the profile's."""
    if not shutil.which(PROGRAM):
        raise EmulatorError(f"no {PROGRAM} on PATH: install it (on Debian 12: apt install {PACKAGES})")
    shown = subprocess.run([PROGRAM, "--version"], check=False, capture_output=True, text=True).stdout
    found = re.search(r"version (\d+\.\d+)\S*", shown)
    if not found or found[1] != VERSION:
        have = found[0] if found else "an unknown version"
        raise EmulatorError(f"QEMU here is {have}; the profile {PROFILE} was made with {VERSION}")
    return found[0].removeprefix("version ")


def run(programs: Sequence[Program], timeout: float = 120) -> list[Outcome]:
    """Run `programs`, some thousands in one boot of at most `timeout` seconds.

    Raises EmulatorError when QEMU does not come to the end of them.
    """
    version()
    return [outcome for batch in batches(programs) for outcome in _boot(batch, timeout)]


def _boot(batch: Batch, timeout: float) -> list[Outcome]:
    with tempfile.TemporaryDirectory(prefix="svmlib-") as folder:
        rom, ram = Path(folder, "rom"), Path(folder, "ram")
        rom.write_bytes(batch.rom())
        size = at.RAM
        command = [
            PROGRAM,
            *_MACHINE.split(),
            *("-m", str(size >> 20), "-bios", str(rom)),
            *("-object", f"memory-backend-file,id=ram,size={size},mem-path={ram},share=on"),
            *("-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
        ]
        try:
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=timeout)
        except subprocess.TimeoutExpired:
            raise EmulatorError(f"QEMU was still running after {timeout:.0f} s") from None
        if done.returncode == 0:
            raise EmulatorError("QEMU's machine was reset before the end of its programs: a triple fault")
        if done.returncode != _FINISHED:
            said = [line for line in done.stderr.splitlines() if "warning:" not in line]
            raise EmulatorError(f"QEMU ended with status {done.returncode}: {' '.join(said[-1:])}")
        with ram.open("rb") as file:
            file.seek(at.LOG)
            return from_log(file.read(batch.log_size), batch)
