"""A worker's warm zygote, and the processes that it forks for submissions."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import svmlib

from .. import wire
from ..judge.grading import Process

ROOT = Path(__file__).resolve().parents[2]
#: What a child's environment holds: nothing of the worker's.
ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MPLBACKEND": "agg",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
    "LANG": "C.UTF-8",
}
_SIGNALS = {
    signal.SIGSEGV: "it crashed (segmentation fault)",
    signal.SIGABRT: "it crashed (abort)",
    signal.SIGBUS: "it crashed (bus error)",
    signal.SIGFPE: "it crashed (floating point exception)",
    signal.SIGILL: "it crashed (illegal instruction)",
}
#: How a process ended that another program killed, or the kernel for want of memory.
KILLED = "it was killed from outside"


class Settings(NamedTuple):
    """What a sandbox allows: bytes of memory and seconds of CPU time; modules to have loaded; answers or
    none.
    """

    memory: int = 1 << 30
    seconds: int = 120
    modules: tuple[str, ...] = ()
    allow_answers: bool = False


class SandboxError(Exception):
    """The zygote did not come up, or is gone; the message says why."""


class Sandbox:
    """A zygote and its children, one at a time."""

    def __init__(self, settings: Settings):
        """Start the zygote and wait until it is warm; `layers` then tells what protects."""
        self.folder = Path(tempfile.mkdtemp(prefix="svmlib-"))
        ours, theirs = socket.socketpair()
        values = settings._asdict() | {"control": theirs.fileno(), "folder": str(self.folder)}
        environment = ENVIRONMENT | {
            "PATH": os.defpath,
            "PYTHONPATH": os.pathsep.join([str(Path(svmlib.__file__).resolve().parents[1]), str(ROOT)]),
            "HOME": str(self.folder / "work"),
            "IPYTHONDIR": str(self.folder / "work"),
            "TMPDIR": str(self.folder / "work"),
        }
        self.control = ours
        self.log = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the sandbox
        with theirs:
            self.zygote = subprocess.Popen(
                [sys.executable, "-s", "-P", "-m", "autograder.student.zygote", json.dumps(values)],
                pass_fds=[theirs.fileno()],
                env=environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self.log,
            )
        self.lines = b""
        try:
            self.layers: list[tuple[str, bool, str]] = [(n, t, w) for n, t, w in self._reply(60)["layers"]]
        except SandboxError:
            self.__exit__()
            raise

    @contextlib.contextmanager
    def process(self) -> Iterator[Process]:
        """Fork a process for one submission; at the end nothing of it is left."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                pid: int = self._asked({"do": "fork"}, theirs)["pid"]
            ended: list[tuple[str, int]] = []

            def end() -> tuple[str, int]:
                if not ended:
                    found = self._asked({"do": "end", "pid": pid, "gone": _is_closed(ours)})
                    ended.append((_how(found["status"], had_ended=found["had_ended"]), found["peak"]))
                return ended[0]

            def interrupt() -> None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGINT)

            try:
                yield Process(wire.Channel(ours), interrupt, end)
            finally:
                end()

    def _asked(self, request: dict[str, Any], connection: socket.socket | None = None) -> dict[str, Any]:
        """What the zygote answers to a request, with which it may be given a connection."""
        try:
            handed_over = [connection.fileno()] if connection else []
            socket.send_fds(self.control, [json.dumps(request).encode()], handed_over)
        except OSError as error:
            raise SandboxError(f"the sandbox is gone: {error}") from None
        return self._reply(30)

    def _reply(self, seconds: float) -> dict[str, Any]:
        self.control.settimeout(seconds)
        try:
            while b"\n" not in self.lines:
                data = self.control.recv(1 << 16)
                if not data:
                    raise OSError("it ended")
                self.lines += data
        except OSError as error:
            self.log.seek(0)
            said = self.log.read().decode("utf-8", "replace").strip().splitlines()[-1:]
            raise SandboxError(f"the sandbox does not answer: {error} {''.join(said)}".strip()) from None
        line, self.lines = self.lines.split(b"\n", 1)
        found: dict[str, Any] = json.loads(line)
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.control.close()
        try:  # it ends by itself and removes the folder, though this process be killed meanwhile
            self.zygote.wait(5)
        except subprocess.TimeoutExpired:
            self.zygote.kill()
            self.zygote.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _is_closed(connection: socket.socket) -> bool:
    """Whether the other end of a connection is closed; it is not used any more."""
    connection.setblocking(False)
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _how(status: int, *, had_ended: bool) -> str:
    """How a child had ended before it was killed: "" when it had not."""
    if status == -signal.SIGKILL:
        return KILLED if had_ended else ""
    if status == -signal.SIGXCPU:
        return "it used up its CPU time"
    if status < 0:
        return _SIGNALS.get(signal.Signals(-status), f"it was ended by {signal.Signals(-status).name}")
    return f"its process ended itself (exit {status})"
