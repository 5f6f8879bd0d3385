"""Several workers: every submission ends in a verdict, whatever becomes of them."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

from ..judge.release import Release, Submission
from ..judge.verdict import Verdict
from ..student.layers import NEEDED, Layer
from .journal import Journal

#: How many submissions a worker is given at a time: the next one lies ready when it has done one.
AHEAD = 2
#: Seconds that a worker may be late before it is ended, and that it may take to come up.
LATE, COMING_UP = 30, 90
#: How often a submission is tried that takes its worker down: the first time it may have been something else.
TRIES = 2
#: How many workers may end in one run before they have begun.
STILLBORN = 3
DOWN = "it took the grading process down"


class Options(NamedTuple):
    """How submissions are run. `trusted` runs them even where too few layers protect."""

    workers: int | None = None
    trusted: bool = False
    kernel: bool = False
    cell_seconds: float = 20
    question_seconds: float = 5
    submission_seconds: float = 120
    memory: int = 1 << 30
    allow_answers: bool = False
    #: A folder with the svmlib that grades, where it is not the installed one: a class's frozen/.
    library: str = ""
    #: Whether a test cell that got the same answers before is not run again: only time depends on it.
    remember: bool = True

    @property
    def deciding(self) -> str:
        """What of it decides verdicts: a journal tells runs apart by it."""
        return json.dumps([self.kernel, *self[3:-2]])


class EngineError(Exception):
    """The engine cannot run; the message says why and what to do."""


class TooFewLayers(EngineError):
    """Too little protects from what submissions may do."""


def grade(
    release: Release,
    submissions: Iterable[Submission],
    options: Options = Options(),
    journal: Journal | None = None,
) -> Iterator[Verdict]:
    """Grade submissions and yield each verdict as it is there; what the journal knows is not graded again."""
    new = deque[Submission]()
    for submission in submissions:
        known = journal.known(submission, release, options.deciding) if journal else None
        if known is None:
            new.append(submission)
        else:
            yield known
    if not new:
        return
    if options.kernel:
        from .kernels import grade as by_kernels

        verdicts = by_kernels(release, new, options)
    else:
        verdicts = _Pool(release, new, options).run()
    for verdict in verdicts:
        if journal:
            journal.append(verdict, release, options.deciding)
        yield verdict
    if journal:
        journal.flush()


def layers(options: Options = Options()) -> list[Layer]:
    """What protects here from what a submission may do: tried, not guessed."""
    from .sandbox import Sandbox, SandboxError, Settings

    try:
        with Sandbox(Settings(memory=options.memory)) as box:
            return [Layer(*layer) for layer in box.layers]
    except SandboxError as error:
        return [Layer(name, taken=False, why=str(error)) for name in NEEDED]


def require(found: list[Layer], *, trusted: bool) -> None:
    """TooFewLayers unless enough protects, or the submissions are trusted."""
    missing = [layer for layer in found if layer.name in NEEDED and not layer.taken]
    if missing and not trusted:
        why = "; ".join(f"{layer.name}: {layer.why}" for layer in missing)
        raise TooFewLayers(
            f"Untrusted submissions are not run here, too little would protect from them ({why}). Run it on "
            "Linux 5.13 or later with libseccomp (Debian: libseccomp2), in a container or WSL 2, or pass "
            "--trusted if you trust whoever wrote them."
        )


def _cpus() -> list[int]:
    """The CPUs that this process may use."""
    if sys.platform != "linux":
        return list(range(os.cpu_count() or 1))
    return sorted(os.sched_getaffinity(0))


class _Worker:
    """A worker process, and what it has been given."""

    def __init__(self, settings: bytes, library: str, files: list[int]):
        """Start it with the svmlib in the folder `library`; its first message tells its layers."""
        ours, theirs = socket.socketpair()
        root = str(Path(__file__).resolve().parents[2])
        given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        path = os.pathsep.join(dict.fromkeys(filter(None, [library, *given, root])))
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "autograder.engine.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno(), *files],
                env=os.environ | {"PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
            )
        self.connection: Any = Connection(ours.detach())
        with contextlib.suppress(OSError):  # it is gone; its end is seen where messages are read
            self.connection.send_bytes(settings)
        self.given = deque[Submission]()
        self.is_ready = self.is_gone = False
        self.deadline = time.monotonic() + COMING_UP

    def give(self, submission: Submission, data: bytes, seconds: float) -> None:
        """Send a submission with what is in it."""
        if not self.given:
            self.deadline = time.monotonic() + seconds
        self.given.append(submission)
        self.connection.send_bytes(json.dumps([submission.student, submission.exercise]).encode())
        self.connection.send_bytes(data)

    def end(self) -> None:
        """End it, and with it all that it started."""
        self.connection.close()
        self.process.kill()
        self.process.wait()


class _Pool:
    """Workers and the submissions that wait for them."""

    def __init__(self, release: Release, submissions: "deque[Submission]", options: Options):
        self.waiting, self.options = submissions, options
        self.seconds = options.submission_seconds + LATE
        self.settings: dict[str, Any] = {"release": release._asdict(), "options": options._asdict()}
        cpus = _cpus()
        self.count = min(options.workers or len(cpus), len(submissions))
        #: Where each worker runs, once there is one for every CPU: it and the student's process take turns,
        #: and nobody has to be woken on another CPU. Fewer workers are placed by the system.
        self.cpus: list[int] = cpus if self.count == len(cpus) else []
        #: A file a worker, in which it tells the others what it has seen; without names, so none is left.
        self.seen: list[Any] = []
        self.workers: list[_Worker] = []
        self.tries: dict[tuple[str, str, str], int] = {}
        self.stillborn = 0

    def run(self) -> Iterator[Verdict]:
        """Yield a verdict for each submission."""
        try:
            with contextlib.suppress(OSError):  # with no room for them the workers find out for themselves
                self.seen = [tempfile.TemporaryFile() for _ in range(self.count)]  # noqa: SIM115
            self.workers = [self._worker(number) for number in range(self.count)]
            while self.waiting or any(worker.given for worker in self.workers):
                for worker in self.workers:
                    while self._takes(worker):
                        self._give(worker)
                yield from self._received()
        finally:
            for worker in self.workers:
                worker.end()
            for file in self.seen:
                file.close()

    def _worker(self, number: int) -> _Worker:
        """Start worker `number`, or the one that takes its place."""
        files = [file.fileno() for file in self.seen]
        settings = json.dumps(
            self.settings | {"seen": files, "number": number, "cpus": self.cpus[number : number + 1]}
        ).encode()
        return _Worker(settings, self.options.library, files)

    def _takes(self, worker: _Worker) -> bool:
        can = worker.is_ready and not worker.is_gone
        return can and bool(self.waiting) and len(worker.given) < AHEAD

    def _give(self, worker: _Worker) -> None:
        submission = self.waiting.popleft()
        data = submission.data
        try:
            worker.give(submission, data, self.seconds)
        except OSError:  # what it had sent before is read yet, and then its end is seen
            worker.is_gone = True

    def _received(self) -> Iterator[Verdict]:
        by_connection = {worker.connection: worker for worker in self.workers}
        for connection in wait(list(by_connection), timeout=1):
            worker = by_connection[connection]
            try:
                message = json.loads(worker.connection.recv_bytes())
            except (EOFError, OSError):
                yield from self._replaced(worker, DOWN)
            else:
                if "error" in message:
                    yield from self._replaced(worker, str(message["error"]))
                elif worker.is_ready:
                    worker.given.popleft()
                    worker.deadline = time.monotonic() + self.seconds
                    yield Verdict.from_dict(message)
                else:
                    self._came_up(worker, message)
        for worker in [worker for worker in self.workers if time.monotonic() > worker.deadline]:
            if not worker.is_ready:
                raise EngineError(f"a worker did not come up within {COMING_UP} s")
            if worker.given:
                yield from self._replaced(worker, f"it had no end after {self.seconds:g} s")

    def _came_up(self, worker: _Worker, message: dict[str, Any]) -> None:
        require([Layer(*layer) for layer in message["layers"]], trusted=self.options.trusted)
        worker.is_ready = True

    def _replaced(self, worker: _Worker, reason: str) -> Iterator[Verdict]:
        """A worker is gone: a new one takes its place; what it was at is tried once more, then failed."""
        worker.end()
        if worker.given:
            first, *rest = worker.given
            self.waiting.extendleft(reversed(rest))
            key = (first.student, first.exercise, first.digest)
            self.tries[key] = self.tries.get(key, 0) + 1
            if self.tries[key] < TRIES:
                self.waiting.appendleft(first)
            else:
                yield Verdict(first.student, first.exercise, "failed", reason, digest=first.digest)
        elif not worker.is_ready:
            self.stillborn += 1
            if self.stillborn >= STILLBORN:
                why = "see their messages above" if reason == DOWN else reason
                raise EngineError(f"{self.stillborn} workers ended before they had begun: {why}")
        number = self.workers.index(worker)
        self.workers[number] = self._worker(number)
