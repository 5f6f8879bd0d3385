"""Build both programs with the tools of the distribution: one for user mode, one that boots from a stick.

A stick's image holds an MBR with one partition for UEFI, in it a FAT file system with EFI/BOOT/BOOTX64.EFI,
which firmware starts by itself.
"""

import re
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

from ...data import rows

HERE = Path(__file__).parent
#: gnu-efi's files, and the program's sections that go into the application.
_START, _SCRIPT = "crt0-efi-x86_64.o", "elf_x86_64_efi.lds"
_SECTIONS = (
    ".text",
    ".sdata",
    ".data",
    ".dynamic",
    ".dynsym",
    ".rel",
    ".rela",
    ".rel.*",
    ".rela.*",
    ".reloc",
)
#: How: position-independent, for firmware loads it anywhere; no red zone, for its interrupts use our stack.
_COMPILE = (
    "-O2 -ffreestanding -fpic -fshort-wchar -fno-stack-protector -fcf-protection=none -mno-red-zone "
    "-mgeneral-regs-only -maccumulate-outgoing-args -DGNU_EFI_USE_MS_ABI"
)
_LINK = "-nostdlib -znocombreloc -znoexecstack -shared -Bsymbolic --no-undefined"
#: Where gnu-efi's libraries and headers may lie: Debian's, Fedora's, Arch's place.
_LIBRARIES = ("/usr/lib", "/usr/lib/gnuefi", "/usr/lib64/gnuefi", "/usr/local/lib")
_HEADERS = "/usr/include/efi"
#: Bytes, and the partition's first sector: 1 MiB, as everywhere.
_SIZE, _FIRST, _SECTOR = 8 << 20, 2048, 512


class CalibrationError(RuntimeError):
    """Something is missing or does not fit this machine: what, and what to do."""


def run(*words: str | Path, folder: Path | None = None) -> str:
    """Run a program and return what it printed; CalibrationError with its last line when it fails."""
    done = subprocess.run(words, cwd=folder, check=False, capture_output=True, text=True, errors="replace")
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}").splitlines()[-1]
        raise CalibrationError(f"{Path(words[0]).name} failed: {last}")
    return done.stdout


def need(program: str, package: str) -> str:
    """Where `program` is; CalibrationError, with Debian's package that has it, if it is not on PATH."""
    if found := shutil.which(program):
        return found
    raise CalibrationError(f"no {program} on PATH: install it (on Debian: apt install {package})")


def user_program(folder: Path) -> Path:
    """Compile user.c into `folder`."""
    compiler = need("cc", "gcc libc6-dev")
    target = folder / "calibrate"
    run(compiler, "-O2", "-o", target, HERE / "user.c")
    return target


def write_image(file: Path) -> None:
    """Build image.c and write it to `file`: the application if that ends in .efi, else a stick's image."""
    with tempfile.TemporaryDirectory(prefix="svmlib-") as name:
        folder = Path(name)
        made = application(folder)
        if file.suffix.lower() != ".efi":
            made = stick(made, folder)
        shutil.copyfile(made, file)


def application(folder: Path) -> Path:
    """Build image.c in `folder` as a UEFI application."""
    for program, package in (("gcc", "gcc libc6-dev"), ("ld", "binutils"), ("objcopy", "binutils")):
        need(program, package)
    libraries = next((path for path in map(Path, _LIBRARIES) if (path / _START).is_file()), None)
    if libraries is None or not (Path(_HEADERS) / "efi.h").is_file():
        raise CalibrationError("no gnu-efi here: install it (on Debian: apt install gnu-efi)")
    (folder / "names.h").write_text(names(), encoding="ascii")
    compiled, linked, target = (folder / name for name in ("image.o", "image.so", "BOOTX64.EFI"))
    include = (f"-I{_HEADERS}", f"-I{_HEADERS}/x86_64", f"-I{folder}")
    run("gcc", "-c", *_COMPILE.split(), *include, "-o", compiled, HERE / "image.c")
    found = ("-T", libraries / _SCRIPT, libraries / _START, compiled, f"-L{libraries}", "-lgnuefi", "-lefi")
    run("ld", *_LINK.split(), *found, "-o", linked)
    sections = [word for name in _SECTIONS for word in ("-j", name)]
    run("objcopy", *sections, "--target", "efi-app-x86_64", linked, target)
    return target


def names() -> str:
    """The header names.h: offsets in the VMCB, exit codes and MSRs, from the tables."""
    offsets = {row["field"]: row["offset"] for row in rows("vmcb_control")}
    offsets |= {row["name"]: row["vmcb"] for row in rows("registers") if row["vmcb"]}
    lines = [("VMCB", name, value) for name, value in offsets.items()]
    lines += [("EXIT", row["name"], row["exitcode"]) for row in rows("exitcodes")]
    lines += [("MSR", row["msr_name"], row["msr"]) for row in rows("registers") if row["msr"]]
    macros = [(re.sub(r"\W", "_", f"{kind}_{name}").upper(), value) for kind, name, value in lines]
    return "".join(f"#define {macro} {value}\n" for macro, value in macros)


def stick(made: Path, folder: Path) -> Path:
    """Make a stick's image in `folder` of an application."""
    for program in ("mformat", "mmd", "mcopy"):
        need(program, "mtools")
    image = folder / "stick.img"
    sectors = _SIZE // _SECTOR - _FIRST
    with image.open("wb") as file:
        file.truncate(_SIZE)
        file.seek(446)
        # One entry: active no, type 0xEF (UEFI's), no cylinders, first sector, sectors; then the signature.
        file.write(struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xEF, b"\xff\xff\xff", _FIRST, sectors))
        file.seek(510)
        file.write(b"\x55\xaa")
    drive = f"{image}@@{_FIRST * _SECTOR}"
    run("mformat", "-i", drive, "-T", str(sectors), "-h", "16", "-s", "63", "-v", "SVMLIB", "::")
    run("mmd", "-i", drive, "::/EFI", "::/EFI/BOOT")
    run("mcopy", "-i", drive, made, "::/EFI/BOOT/BOOTX64.EFI")
    return image
