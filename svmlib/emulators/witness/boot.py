"""The kernel under QEMU's TCG: one boot with the plugin lists instructions, one with gdb names the MSRs."""

import subprocess
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from ...registers import MSR
from ..outcomes import EmulatorError
from ..qemu import PROGRAM
from .gdb import Gdb
from .kernel import Kernel
from .recording import Line, RoundTrip

#: Exits of each kind in a row, and how often that: in the boot with the plugin, and the one with gdb, ended
#: when enough was seen.
LISTED, WATCHED = (5000, 1), (200, 1_000_000)
#: So many round trips have to agree on a kind's MSRs.
_AGREE = 20
_TIMEOUT = 600
_USER = 1 << 63
#: The plugin's word for why the guest left, and ours.
_LEFT_BY = {"kernel": "cpuid", "user": "out"}
_MSR_INSTRUCTIONS = ("RDMSR", "WRMSR")
_MSRS = {number: name for name, number in vars(MSR).items() if name.isupper()}


class Trip(NamedTuple):
    """A round trip as the plugin writes it."""

    left_by: str
    kernel: int
    user: int
    #: Each listed instruction: its address, and its number since #VMEXIT.
    steps: tuple[tuple[int, int], ...]


class Boot(NamedTuple):
    """What a boot with the plugin left."""

    trips: list[Trip]
    names: dict[int, str]
    symbols: "Symbols"

    def most(self, kind: str) -> tuple[Trip, int, int]:
        """The round trip that most exits of `kind` made, how many made it, how many there were."""
        found = Counter(trip for trip in self.trips if trip.left_by == _LEFT_BY[kind])
        if not found:
            raise EmulatorError(f"no round trip of kind {kind} was seen")
        ((trip, identical),) = found.most_common(1)
        return trip, identical, found.total()


class Symbols:
    """The kernel's functions by address, in one boot."""

    def __init__(self, lines: Iterable[str]):
        """Read init's lines "symbol ADDRESS NAME [MODULE]"; others are passed over."""
        self._names: dict[int, str] = {}
        for line in lines:
            word, *rest = line.split()
            if word == "symbol":
                self._names.setdefault(int(rest[0], 16), " ".join(rest[1:]))

    @cached_property
    def _addresses(self) -> list[int]:
        return sorted(self._names)

    def place(self, address: int) -> str:
        """Name an address: function, offset, module."""
        if address < _USER:
            return "user space"
        start = self._start(address)
        name, _, module = self._names[start].partition(" ")
        return f"{name}+{address - start:#x} {module}".rstrip()

    def _start(self, address: int) -> int:
        return self._addresses[bisect_right(self._addresses, address) - 1]

    def _called(self, name: str) -> list[int]:
        return [address for address in self._addresses if self._names[address] == name]

    def move(self, address: int, other: "Symbols") -> int:
        """Return where the place of `address` lies in another boot."""
        start = self._start(address)
        name = self._names[start]
        return address - start + other._called(name)[self._called(name).index(start)]


def command_line(
    kernel: Path,
    initramfs: Path,
    modules: list[Path],
    times: tuple[int, int],
    memory: int = 512,
    cpus: int = 1,
) -> list[str]:
    """Return QEMU's command for a boot, without the plugin and the debugger."""
    words = (
        f"{PROGRAM} -accel tcg -machine pc -cpu EPYC,+svm -m {memory} -nodefaults -display none -no-reboot"
    )
    if cpus > 1:
        words += f" -smp {cpus}"
    names = ",".join(f"/{path.name}" for path in modules)
    append = f"console=ttyS0 quiet nokaslr panic=-1 EXITS={times[0]} ROUNDS={times[1]} MODULES={names}"
    files = ["-kernel", str(kernel), "-initrd", str(initramfs), "-append", append]
    return [*words.split(), *files, "-serial", "file:console", "-debugcon", "file:said"]


@contextmanager
def qemu_process(command: list[str], folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run QEMU in `folder`, where it leaves its files, and end it with the context."""
    for name in ("said", "console", "gdb"):
        (folder / name).unlink(missing_ok=True)
    with (
        (folder / "errors").open("wb") as errors,
        subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def said(folder: Path, process: "subprocess.Popen[bytes]", last: str) -> list[str]:
    """Wait for init's line `last` and return all; EmulatorError when the kernel ends or hangs before it."""
    until = time.monotonic() + _TIMEOUT
    ended = False
    while True:
        text = _text(folder, "said")
        if text.endswith(f"{last}\n"):
            return text.splitlines()
        if ended:
            break
        if time.monotonic() > until:
            raise EmulatorError(f"the kernel was still running after {_TIMEOUT} s")
        ended = process.poll() is not None
        time.sleep(0.2)
    lines = [line for name in ("errors", "console", "said") for line in _text(folder, name).splitlines()]
    told = [
        line for line in lines if line.strip() and not line.startswith("symbol ") and "warning:" not in line
    ]
    raise EmulatorError(f"the kernel did not come to its end: {(told or ['it said nothing'])[-1]}")


def _text(folder: Path, name: str) -> str:
    file = folder / name
    return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""


def list_instructions(kernel: Kernel, initramfs: Path, plugin: Path, folder: Path) -> Boot:
    """Boot with the plugin, to the end."""
    command = command_line(kernel.image, initramfs, kernel.modules, LISTED)
    with qemu_process([*command, "-plugin", f"{plugin},out=trips"], folder) as process:
        symbols = Symbols(said(folder, process, "done"))
        process.wait(_TIMEOUT)
    return Boot(*_read(folder / "trips"), symbols)


def _read(file: Path) -> tuple[list[Trip], dict[int, str]]:
    """Read what the plugin wrote: round trips, and the instructions' names by address."""
    trips, names = [], {}
    with file.open(encoding="ascii") as lines:
        for line in lines:
            word, *rest = line.split()
            if word == "insn":
                names[int(rest[0], 16)] = " ".join(rest[1:])
            else:
                left_by, kernel, user, *steps = rest
                pairs = (step.split("@") for step in steps)
                exact = tuple((int(address, 16), int(number)) for address, number in pairs)
                trips.append(Trip(left_by, int(kernel), int(user), exact))
    return trips, names


def name_msrs(boot: Boot, kernel: Kernel, initramfs: Path, folder: Path) -> dict[str, list[int]]:
    """Boot again under gdb: the MSR of each RDMSR and WRMSR of each kind's round trip, in their order.

    A breakpoint at each of them, where the MSR's number is in ECX, and at the round trip's first listed
    instruction.
    """
    command = command_line(kernel.image, initramfs, kernel.modules, WATCHED)
    stub = ["-chardev", "socket,id=gdb,path=gdb,server=on,wait=off", "-gdb", "chardev:gdb"]
    found: dict[str, Counter[tuple[int, ...]]] = {kind: Counter() for kind in _LEFT_BY}
    with qemu_process([*command, *stub], folder) as process:
        symbols = Symbols(said(folder, process, "ready"))  # modules do not lie where they did
        wanted = {
            kind: [
                boot.symbols.move(address, symbols)
                for address, _ in boot.most(kind)[0].steps
                if boot.names[address] in _MSR_INSTRUCTIONS
            ]
            for kind in _LEFT_BY
        }
        start = boot.symbols.move(boot.most("kernel")[0].steps[0][0], symbols)
        with Gdb(folder / "gdb", _TIMEOUT) as gdb:
            for trip in _watch(
                gdb, start, {address for addresses in wanted.values() for address in addresses}
            ):
                for kind, addresses in wanted.items():
                    if [address for address, _ in trip] == addresses:
                        found[kind][tuple(number for _, number in trip)] += 1
                if all(max(found[kind].values(), default=0) >= _AGREE for kind in wanted):
                    break
    return {kind: list(found[kind].most_common(1)[0][0]) for kind in wanted}


def _watch(gdb: Gdb, start: int, addresses: set[int]) -> Iterator[list[tuple[int, int]]]:
    """Yield what is met at `addresses` from one stop at `start` to the next: address and ECX."""
    gdb.stop_at(start)
    at = gdb.go().rip
    for address in addresses - {start}:
        gdb.stop_at(address)
    while True:
        trip = []
        while (stopped := gdb.go(at)).rip != start:
            trip.append((stopped.rip, stopped.rcx & 0xFFFF_FFFF))
            at = stopped.rip
        at = start
        yield trip


def round_trip(boot: Boot, kind: str, msrs: list[int]) -> RoundTrip:
    """The most frequent round trip of a kind, its MSRs and places named."""
    trip, identical, recorded = boot.most(kind)
    numbers = iter(msrs)
    lines = []
    for address, number in trip.steps:
        name = boot.names[address]
        if name in _MSR_INSTRUCTIONS:
            msr = next(numbers)
            name = f"{name} {_MSRS.get(msr, f'{msr:#x}')}"
        lines.append(Line(number, name, boot.symbols.place(address)))
    return RoundTrip(recorded, identical, trip.kernel, trip.user, lines)
