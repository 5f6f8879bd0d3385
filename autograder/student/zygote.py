"""A warm process without a secret: it has IPython and svmlib loaded, and forks a child for each submission.

Started by a worker as `python -m autograder.student.zygote`, with one socket inherited. Over it come
requests, each a JSON line: "fork", with the child's own connection beside it, "end" to be rid of a child. No
test, seed or answer ever reaches this process, so none can be inherited.
"""

import contextlib
import importlib
import importlib.abc
import json
import os
import select
import signal
import socket
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import svmlib

from .. import wire
from . import layers

ROOT = Path(__file__).resolve().parents[2]
_BELOW = tuple(f"{name}." for name in layers.ANSWERS)
_WHY = "{} is not there while a submission is graded: it holds answers. Write it yourself."


class NoAnswerError(ImportError):
    """What is not there for want of being allowed; IPython shows the line alone."""

    def _render_traceback_(self) -> list[str]:
        return [f"ImportError: {self}"]


class NoAnswers(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Says clearly why a module with answers cannot be imported; its files cannot be read either.

    Other modules of svmlib may import it, and get a stand-in that says the same when it is used.
    """

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:  # noqa: ARG002
        """Refuse the modules with answers, leave all others to Python."""
        if name.startswith(_BELOW) or name in layers.ANSWERS:
            if not _importer().startswith("svmlib."):
                raise NoAnswerError(_WHY.format(name), name=name)
            return ModuleSpec(name, self, is_package=True)
        if name.partition(".")[0] in ("solutions", "exercises"):
            raise NoAnswerError(f"{name} is not there while a submission is graded.", name=name)
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Fill the stand-in with nothing."""

        def missing(name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            if not _importer().startswith("svmlib."):
                raise NoAnswerError(_WHY.format(module.__name__), name=module.__name__)
            return _Missing(f"{module.__name__}.{name}")

        module.__getattr__ = missing  # type: ignore[method-assign]


class _Missing:
    """What svmlib's own modules hold in the place of an answer."""

    def __init__(self, name: str):
        self.name = name

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise NoAnswerError(_WHY.format(self.name))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Missing(f"{self.name}.{name}")

    def __or__(self, other: Any) -> Any:
        return other

    def __ror__(self, other: Any) -> Any:
        return other

    def __getitem__(self, item: Any) -> Any:
        return self


def _forget_standins() -> None:
    """Take the stand-ins out of sys.modules, so that importing one is refused."""
    for name in [name for name in sys.modules if name in layers.ANSWERS or name.startswith(_BELOW)]:
        parent, _, last = name.rpartition(".")
        del sys.modules[name]
        if parent in sys.modules and last in vars(sys.modules[parent]):
            delattr(sys.modules[parent], last)


def _importer() -> str:
    """The module whose statement is being executed, Python's own importing left out."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name != __name__ and "importlib" not in frame.f_code.co_filename:
            return name
        frame = frame.f_back
    return ""


def serve(control: socket.socket, settings: dict[str, Any]) -> None:
    """Prepare the layers, warm up, say so, and fork on request until the worker is gone."""
    folder = Path(settings["folder"])
    plan = layers.Plan(
        folder=folder,
        roots=[ROOT, Path(svmlib.__file__).resolve().parents[1]],
        memory=settings["memory"],
        seconds=settings["seconds"],
        allow_answers=settings["allow_answers"],
    )
    try:
        _serve(control, settings, plan)
    finally:
        plan.remove_folder()  # a worker that was killed cannot


def _serve(control: socket.socket, settings: dict[str, Any], plan: layers.Plan) -> None:
    if not settings["allow_answers"]:
        sys.meta_path.insert(0, NoAnswers())
    from .. import given, kernel
    from . import proxies, session, shell

    kernel.hand_over((proxies.CpuProxy, proxies.VcpuProxy), proxies.kernel)

    warm = shell.start()
    for name in settings["modules"]:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    if not settings["allow_answers"]:
        given.fetch_through(session.fetch)
        _forget_standins()
    control.sendall(_line({"layers": plan.layers, "pid": os.getpid()}))
    with socket.socket(fileno=os.dup(control.fileno())) as listening:
        while request := _next(listening):
            if request["do"] == "end":
                control.sendall(_line(_end(request["pid"], is_gone=request["gone"])))
                continue
            plan.fresh_folder()
            me, pid = os.getpid(), os.fork()
            if not pid:
                _child(me, request["socket"], plan, lambda channel: session.main(channel, warm))
            os.close(request["socket"])
            control.sendall(_line({"pid": pid}))


def _child(parent: int, connection: int, plan: layers.Plan, main: Any) -> None:
    """Be the student's process: give up everything but the connection, then serve."""
    status = 1
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nothing, number)
        plan.apply()
        if os.getppid() != parent:  # it was killed before the kernel was told to end this one with it
            return
        os.closerange(3, connection)
        os.closerange(connection + 1, 256)
        main(wire.Channel(socket.socket(fileno=connection)))
        status = 0
    finally:
        os._exit(status)


def _end(pid: int, *, is_gone: bool) -> dict[str, Any]:
    """Kill a child and all that it started, and wait: its status, whether it had ended before, its peak (kB).

    One whose connection is closed is about to end, and gets a second to do so.
    """
    had_ended = _has_ended(pid, 1.0 if is_gone else 0.0)
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    _, status, usage = os.wait4(pid, 0)
    return {"status": os.waitstatus_to_exitcode(status), "had_ended": had_ended, "peak": usage.ru_maxrss}


def _has_ended(pid: int, seconds: float) -> bool:
    """Whether a child has ended by itself; False where the system does not tell."""
    if sys.platform != "linux":
        return False
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)


def _line(message: Any) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _next(control: socket.socket) -> dict[str, Any] | None:
    """The next request, its connection with it; None when the worker is gone."""
    data, descriptors, _, _ = socket.recv_fds(control, 4096, 1)
    if not data:
        return None
    request: dict[str, Any] = json.loads(data)
    if descriptors:
        request["socket"] = descriptors[0]
    return request


def main() -> None:
    """Run as a worker's child: settings are the first argument, the socket's number is in them."""
    settings = json.loads(sys.argv[1])
    control = socket.socket(fileno=settings["control"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the worker's to handle
    with contextlib.suppress(BrokenPipeError):  # the worker is gone
        serve(control, settings)
    os._exit(0)


if __name__ == "__main__":
    main()
