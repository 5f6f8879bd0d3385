"""Run programs on Bochs: the ROM instead of its BIOS; its debugger writes the log to a file."""

import os
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

PROGRAM = "bochs"
#: The version that the profile of this name was made with.
PROFILE, VERSION = "bochs27", "2.7"
PACKAGES = "bochs bochs-sdl bochsbios vgabios"
#: Where the debugger is compiled in, as Debian does; ignore_bad_msrs hides #GP, sync waits for the clock.
_SETTINGS = f"""\
config_interface: textconfig
display_library: sdl2
memory: guest={at.RAM >> 20}, host={at.RAM >> 20}
romimage: file=rom
cpu: model=ryzen, count=1, ips=100000000, reset_on_triple_fault=0, ignore_bad_msrs=0
clock: sync=none
pci: enabled=0
plugin_ctrl: voodoo=0, biosdev=0, speaker=0, parallel=0, serial=0, gameport=0
magic_break: enabled=1
log: log
panic: action=fatal
error: action=ignore
info: action=ignore
debug: action=ignore
"""


@cache
def version() -> str:
    """The version of Bochs on PATH; EmulatorError when there is none or it is not the profile's."""
    if not shutil.which(PROGRAM):
        raise EmulatorError(f"no {PROGRAM} on PATH: install it (on Debian 12: apt install {PACKAGES})")
    shown = subprocess.run([PROGRAM, "--help"], check=False, capture_output=True, text=True, errors="replace")
    found = re.search(r"Emulator (\d+\.\d+)\S*", shown.stdout + shown.stderr)
    if not found or found[1] != VERSION:
        have = found[1] if found else "of an unknown version"
        raise EmulatorError(f"Bochs here is {have}; the profile {PROFILE} was made with {VERSION}")
    return found[1]


def run(programs: Sequence[Program], timeout: float = 120) -> list[Outcome]:
    """Run `programs`, some thousands in one boot of at most `timeout` seconds.

    Raises EmulatorError when Bochs does not come to the end of them.
    """
    version()
    return [outcome for batch in batches(programs) for outcome in _boot(batch, timeout)]


def _boot(batch: Batch, timeout: float) -> list[Outcome]:
    with tempfile.TemporaryDirectory(prefix="svmlib-") as folder:
        log = Path(folder, "outcomes")
        Path(folder, "rom").write_bytes(batch.rom())
        Path(folder, "settings").write_text(_SETTINGS)
        # The first command runs to the magic breakpoint, or to what stops it before.
        Path(folder, "commands").write_text(
            f'c\nwritemem "outcomes" {at.linear(at.LOG):#x} {batch.log_size}\nq\n'
        )
        try:
            done = subprocess.run(
                [PROGRAM, "-q", "-f", "settings", "-rc", "commands"],
                check=False,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                env=os.environ | {"SDL_VIDEODRIVER": "dummy"},
            )
        except subprocess.TimeoutExpired:
            raise EmulatorError(f"Bochs was still running after {timeout:.0f} s") from None
        if not log.exists():
            said = re.search(r"following message:\s*(.+)", done.stdout + done.stderr)
            raise EmulatorError(f"Bochs wrote no log: {said[1] if said else f'status {done.returncode}'}")
        return from_log(log.read_bytes(), batch)
