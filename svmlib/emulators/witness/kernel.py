"""Debian's kernel package, fetched and unpacked: kernel, KVM's modules, and an initramfs around init.c."""

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ..outcomes import EmulatorError

#: The kernel that Debian 12 has: the package depends on the one of today's number.
META, SERIES = "linux-image-amd64", "6.1"
#: The module that is needed; it names what it needs itself.
MODULE = "kvm-amd"
HERE = Path(__file__).parent


class Kernel(NamedTuple):
    """An unpacked kernel package."""

    #: "linux-image-6.1.0-56-amd64 6.1.192-2"
    package: str
    image: Path
    #: KVM's modules in the order to load them.
    modules: list[Path]


def command(*words: str | Path, folder: Path | None = None) -> str:
    """Run a program and return what it printed; EmulatorError with its last line when it fails."""
    done = subprocess.run(words, cwd=folder, check=False, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        raise EmulatorError(f"{words[0]} failed: {last}")
    return done.stdout


def need(program: str, package: str) -> None:
    """EmulatorError, with Debian's package that has it, unless `program` is on PATH."""
    if not shutil.which(program):
        raise EmulatorError(f"no {program} on PATH: install it (on Debian 12: apt install {package})")


def fetch(folder: Path) -> Path:
    """Return the kernel package in `folder`; fetched with apt-get download unless one lies there."""
    pattern = f"linux-image-{SERIES}.*-amd64_*.deb"
    if there := sorted(folder.glob(pattern)):
        return there[-1]
    for program in ("apt-cache", "apt-get"):
        need(program, "apt")
    found = re.search(
        rf"Depends: (linux-image-{re.escape(SERIES)}\.\S+-amd64)", command("apt-cache", "depends", META)
    )
    if not found:
        raise EmulatorError(
            f"apt knows no {META} of Linux {SERIES}: this needs Debian 12, after apt-get update as root"
        )
    command("apt-get", "download", found[1], folder=folder)
    return next(folder.glob(pattern))


def unpack(package: Path, folder: Path) -> Kernel:
    """Unpack a kernel package into `folder`."""
    need("dpkg-deb", "dpkg")
    named = command("dpkg-deb", "--showformat", "${Package} ${Version}", "-W", package)
    command("dpkg-deb", "-x", package, folder)
    files = {path.stem.replace("_", "-"): path for path in folder.glob("lib/modules/*/kernel/**/*.ko")}
    if MODULE not in files:
        raise EmulatorError(f"{package.name} has no module {MODULE}.ko")
    return Kernel(named, next(folder.glob("boot/vmlinuz-*")), list(dict.fromkeys(_needs(MODULE, files))))


def _needs(name: str, files: dict[str, Path]) -> Iterator[Path]:
    """Yield the file of a module after those of the modules that its own `depends=` names."""
    depends = re.search(rb"\0depends=([^\0]*)\0", files[name].read_bytes())
    for other in (depends[1].decode() if depends else "").split(","):
        if other:
            yield from _needs(other.replace("_", "-"), files)
    yield files[name]


def build(source: str, target: Path, *options: str) -> Path:
    """Compile one of this folder's C files."""
    need("gcc", "gcc libc6-dev")
    try:
        command("gcc", "-O2", *options, "-o", target, HERE / source)
    except EmulatorError as error:
        raise EmulatorError(f"{error}; it needs, on Debian 12, apt install gcc libc6-dev") from None
    return target


def initramfs(init: Path, modules: Iterable[Path], target: Path) -> Path:
    """Write what the kernel unpacks as its first file system: /init, the modules, /dev and /proc."""
    files = [("init", _PROGRAM, init.read_bytes()), ("dev", _FOLDER, b""), ("proc", _FOLDER, b"")]
    return _archive([*files, *((path.name, 0o100644, path.read_bytes()) for path in modules)], target)


_PROGRAM, _FOLDER = 0o100755, 0o40755


def archive(root: Path, target: Path) -> Path:
    """Write a folder as the kernel's first file system; every file in it may be executed."""
    paths = sorted(root.rglob("*"))
    files = [
        (str(path.relative_to(root)), *((_FOLDER, b"") if path.is_dir() else (_PROGRAM, path.read_bytes())))
        for path in paths
    ]
    return _archive(files, target)


def _archive(files: Iterable[tuple[str, int, bytes]], target: Path) -> Path:
    entries = [_cpio(*file, number) for number, file in enumerate(files, 1)]
    target.write_bytes(b"".join(entries) + _cpio("TRAILER!!!", 0, b"", 0))
    return target


def _cpio(name: str, mode: int, data: bytes, number: int) -> bytes:
    """Make an entry of a "newc" cpio archive: 13 numbers, the name, the bytes, each padded to 4."""
    encoded = name.encode() + b"\0"
    numbers = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
    head = b"070701" + "".join(f"{n:08X}" for n in numbers).encode() + encoded
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)
