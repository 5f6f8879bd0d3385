"""Record real exits with perf and trace-cmd: python -m svmlib.emulators.witness.exits FOLDER.

Debian's kernel under QEMU's TCG as in `boot`, with perf, trace-cmd and their libraries in its initramfs.
They record the virtual machine of guests.c; what they print goes into FOLDER as it is, and about.txt says
what made it.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from .. import qemu
from ..outcomes import EmulatorError
from . import boot, kernel

#: The programs that record, with Debian's packages, and the folder of trace-cmd's plugins.
TOOLS = {"perf": "linux-perf", "trace-cmd": "trace-cmd"}
_PLUGINS = "/usr/lib/x86_64-linux-gnu/traceevent/plugins"
#: The guests' rounds in a recorded sequence, and in perf's table.
ROUNDS, ROUNDS_OF_PERF = 4, 50
_TRACING = "/sys/kernel/tracing"
_EVENTS = "kvm:kvm_exit kvm:kvm_entry kvm:kvm_userspace_exit sched:sched_switch"

#: What init does, see exits.c.
COMMANDS = f"""\
run /usr/bin/trace-cmd record -q -o /trace.dat -e {_EVENTS.replace(" ", " -e ")} /guests {ROUNDS}
run /usr/bin/trace-cmd report -i /trace.dat
send trace-cmd.txt /output
run /usr/bin/trace-cmd report -N -i /trace.dat
send trace-cmd-N.txt /output
write {_TRACING}/set_event {_EVENTS}
run /guests {ROUNDS}
write {_TRACING}/set_event !*:*
send tracefs.txt {_TRACING}/trace
run /usr/bin/perf kvm stat record -o /perf.data /guests {ROUNDS_OF_PERF}
run /usr/bin/perf kvm -i /perf.data stat report
send perf.txt /output
run /usr/bin/perf kvm -i /perf.data stat report --event=ioport
send perf-ioport.txt /output
"""


def record(folder: Path) -> dict[str, bytes]:
    """Fetch, build, boot; name of a file -> its bytes.  Everything lies in `folder`."""
    version = qemu.version()
    for program, package in TOOLS.items():
        kernel.need(program, package)
    print("Debian's kernel, booted with perf and trace-cmd: about a minute ...", flush=True)
    unpacked = kernel.unpack(kernel.fetch(folder), folder / "package")
    root = folder / "root"
    shutil.rmtree(root, ignore_errors=True)
    for file in _needed():
        _copy(file, root / file.relative_to("/"))
    for name in ("dev", "proc", "sys"):
        (root / name).mkdir()
    kernel.build("exits.c", root / "init", "-static")
    kernel.build("guests.c", root / "guests", "-static", "-pthread")
    for module in unpacked.modules:
        _copy(module, root / module.name)
    (root / "commands").write_text(COMMANDS, encoding="ascii")
    initramfs = kernel.archive(root, folder / "initramfs")
    command = boot.command_line(unpacked.image, initramfs, unpacked.modules, boot.LISTED, memory=1024, cpus=2)
    with boot.qemu_process(command, folder) as process:
        boot.said(folder, process, "done")
    counters, files = _handed_over((folder / "said").read_bytes())
    made_by = {"kernel": unpacked.package, "QEMU": version, **{name: _version(name) for name in TOOLS}}
    about = [f"{name}: {value}" for name, value in (made_by | counters).items()]
    text = "\n".join([_HEAD, *about, "", "What ran in it:", "", COMMANDS])
    return {**files, "about.txt": text.encode()}


_HEAD = """\
Recordings of the exits of svmlib/emulators/witness/guests.c, as the tools printed them.
Made by python -m svmlib.emulators.witness.exits; do not edit.  After a file's name stands what KVM itself
counted while it was recorded.
"""


def _needed() -> Iterator[Path]:
    """Yield the programs, the plugins, and the libraries that they name."""
    programs = [Path(found) for name in TOOLS if (found := shutil.which(name))]
    files = [*programs, *sorted(Path(_PLUGINS).glob("plugin_*.so"))]
    libraries = {
        Path(found) for file in files for found in re.findall(r"(/\S+) \(0x", kernel.command("ldd", file))
    }
    yield from files
    yield from sorted(libraries)


def _copy(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, target)


def _version(program: str) -> str:
    return kernel.command("dpkg-query", "--showformat", "${Version}", "-W", TOOLS[program])


def _handed_over(data: bytes) -> tuple[dict[str, str], dict[str, bytes]]:
    """Take what init sent apart: KVM's counters during each run of the guests, and files."""
    counters: dict[str, str] = {}
    files: dict[str, bytes] = {}
    counted = ""
    while data:
        line, _, data = data.partition(b"\n")
        word, *rest = line.decode().split(" ")
        if word == "counter":
            counted += f"{' ' * bool(counted)}{rest[0]} {rest[1]}"
        elif word == "file":
            name, length = rest[0], int(rest[1])
            files[name], data = data[:length], data[length:]
            if counted:
                counters[name], counted = counted, ""
    return counters, files


def main(argv: Sequence[str] | None = None) -> int:
    """Write the recordings into a folder; 1 with one line when something is missing or fails."""
    parser = argparse.ArgumentParser(prog="python -m svmlib.emulators.witness.exits", description=__doc__)
    parser.add_argument("target", metavar="FOLDER", type=Path, help="where to write the recordings")
    parser.add_argument("--folder", type=Path, help="work in this folder, with the package if it is there")
    arguments = parser.parse_args(argv)
    try:
        with tempfile.TemporaryDirectory(prefix="svmlib-") as temporary:
            folder: Path = arguments.folder or Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            files = record(folder.resolve())
        arguments.target.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (arguments.target / name).write_bytes(data)
    except (EmulatorError, OSError, subprocess.SubprocessError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{arguments.target}: {', '.join(files)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
