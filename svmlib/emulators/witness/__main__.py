"""Make the recording: python -m svmlib.emulators.witness FILE."""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from .. import qemu
from ..outcomes import EmulatorError
from . import boot, kernel
from .recording import KINDS, Recording

T = TypeVar("T")


def _stage(what: str, function: Callable[..., T], *arguments: object) -> T:
    """Call a function between a line that says what is done and how long it took."""
    print(f"{what} ...", end=" ", flush=True)
    start = time.monotonic()
    try:
        result = function(*arguments)
    except BaseException:
        print("failed", flush=True)
        raise
    print(f"{time.monotonic() - start:.0f} s", flush=True)
    return result


def record(folder: Path) -> Recording:
    """Fetch, build, boot twice; everything lies in `folder`."""
    version = qemu.version()
    kernel.need("gcc", "gcc libc6-dev")
    package = _stage("Debian's kernel package", kernel.fetch, folder)
    unpacked = _stage("unpacking it", kernel.unpack, package, folder / "package")
    init = _stage("compiling init.c", kernel.build, "init.c", folder / "init", "-static")
    plugin = _stage("compiling plugin.c", kernel.build, "plugin.c", folder / "plugin.so", "-shared", "-fPIC")
    initramfs = kernel.initramfs(init, unpacked.modules, folder / "initramfs")
    listed = _stage(
        f"booting it with the plugin, {boot.LISTED[0]} exits of each kind",
        boot.list_instructions, unpacked, initramfs, plugin, folder,
    )  # fmt: skip
    msrs = _stage(
        "booting it with gdb's protocol, for the numbers of MSRs",
        boot.name_msrs, listed, unpacked, initramfs, folder,
    )  # fmt: skip
    command = boot.command_line(Path("vmlinuz"), Path(initramfs.name), unpacked.modules, boot.LISTED)
    made_by = {
        "kernel": unpacked.package,
        "QEMU": version,
        "command": " ".join(f'"{word}"' if " " in word else word for word in command),
    }
    return Recording(made_by, {kind: boot.round_trip(listed, kind, msrs[kind]) for kind in KINDS})


def main(argv: Sequence[str] | None = None) -> int:
    """Write the recording to a file; 1 with one line when something is missing or fails."""
    parser = argparse.ArgumentParser(prog="python -m svmlib.emulators.witness", description=__doc__)
    parser.add_argument("file", type=Path, help="where to write the recording")
    parser.add_argument(
        "--folder", type=Path, help="work in this folder, with the package if it is there, and keep it"
    )
    arguments = parser.parse_args(argv)
    try:
        with tempfile.TemporaryDirectory(prefix="svmlib-") as temporary:
            folder: Path = arguments.folder or Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            recording = record(folder.resolve())
        arguments.file.write_text(str(recording), encoding="utf-8")
    except (EmulatorError, OSError, subprocess.SubprocessError) as error:
        print(error, file=sys.stderr)
        return 1
    trips = recording.trips.values()
    print(f"{arguments.file}: {', '.join(f'{t.identical} of {t.recorded} identical' for t in trips)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
