"""A debugger's side of QEMU's gdbstub: just the packets that stopping at addresses takes."""

import socket
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from ..outcomes import EmulatorError


class Stopped(NamedTuple):
    """Two of the registers at a stop."""

    rcx: int
    rip: int


class Gdb:
    """A connection to the gdbstub on a Unix socket; the machine stands still except in `go`."""

    def __init__(self, path: Path, timeout: float):
        """Connect; EmulatorError later, whenever the machine takes longer than `timeout` seconds."""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        self._socket.connect(str(path))
        self._bytes = b""
        # The machine stops when a debugger comes, and says so unasked: skip what comes before this answer.
        answer = self._ask("qC")
        while not answer.startswith("QC"):
            answer = self._packet()

    def __enter__(self) -> Self:
        """Use as a context: the connection is closed at its end."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, where: TracebackType | None
    ) -> None:
        """Close the connection."""
        self._socket.close()

    def stop_at(self, address: int) -> None:
        """Set a breakpoint at a linear address."""
        if self._ask(f"Z1,{address:x},1") != "OK":
            raise EmulatorError(f"QEMU's gdbstub sets no breakpoint at {address:#x}")

    def go(self, at: int | None = None) -> Stopped:
        """Run from the stop `at` to the next."""
        if at is not None:
            # A breakpoint's own instruction is stepped over without it, as debuggers do.
            self._ask(f"z1,{at:x},1")
            self._ask("s")
            self._ask(f"Z1,{at:x},1")
        return self._stopped(self._ask("c"))

    def _stopped(self, answer: str) -> Stopped:
        if answer[:1] not in ("S", "T"):
            raise EmulatorError(f"QEMU's gdbstub says {answer!r} instead of where the kernel stopped")
        registers = bytes.fromhex(self._ask("g"))
        # rax rbx rcx rdx rsi rdi rbp rsp r8 to r15 rip, 8 bytes each.
        rcx, rip = (int.from_bytes(registers[8 * n : 8 * n + 8], "little") for n in (2, 16))
        return Stopped(rcx, rip)

    # -- packets: $text#sum, answered by + and a packet

    def _ask(self, text: str) -> str:
        try:
            self._socket.sendall(f"${text}#{sum(text.encode()) % 256:02x}".encode())
            answer = self._packet()
            self._socket.sendall(b"+")
        except OSError as error:
            raise EmulatorError(f"QEMU's gdbstub does not answer: {error}") from None
        return answer

    def _packet(self) -> str:
        while b"#" not in self._bytes[:-2]:
            more = self._socket.recv(65536)
            if not more:
                raise ConnectionError("it is gone")
            self._bytes += more
        end = self._bytes.index(b"#")
        packet, self._bytes = self._bytes[:end], self._bytes[end + 3 :]
        return packet.lstrip(b"+").removeprefix(b"$").decode()
