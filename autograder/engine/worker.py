"""A process that grades what it is sent, one submission after the other, with a sandbox of its own.

Started as `python -m autograder.engine.worker NUMBER`, the number being an inherited socket's. What it is
sent comes from the pool alone.
"""

import contextlib
import ctypes
import gc
import json
import os
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any

from ..judge.exercise import Exercise
from ..judge.grading import Limits, grade
from ..judge.memory import Memory, Shared
from ..judge.release import Submission
from .sandbox import KILLED, Sandbox, SandboxError, Settings

#: How often a submission is tried whose process or whose worker is killed: it may have been no fault of its.
TRIES = 2


def work(pool: Connection) -> None:
    """Say which layers protect, then grade until the pool has no more."""
    settings = json.loads(pool.recv_bytes())
    if settings["cpus"] and sys.platform == "linux":
        os.sched_setaffinity(0, settings["cpus"])  # the student's processes inherit it
    release, options = settings["release"], settings["options"]
    exercises = {
        name: Exercise(name, source, release["given"][name]) for name, source in release["sources"].items()
    }
    shared = Shared(settings["seen"], settings["number"]) if settings["seen"] else None
    memories = {name: Memory(name, shared, remembers=options["remember"]) for name in exercises}
    modules = dict.fromkeys(module for exercise in exercises.values() for module in exercise.modules)
    limits = Limits(options["cell_seconds"], options["question_seconds"], options["submission_seconds"])
    wanted = Settings(
        options["memory"], int(limits.submission), tuple(modules), allow_answers=options["allow_answers"]
    )
    with Sandbox(wanted) as box:
        pool.send_bytes(json.dumps({"layers": box.layers}).encode())
        layers = tuple(name for name, taken, _ in box.layers if taken)
        gc.freeze()  # what is loaded stays; the machines that are run go by themselves
        gc.set_threshold(10_000, 20, 20)
        while True:
            try:
                student, exercise = json.loads(pool.recv_bytes())
                data = pool.recv_bytes()
            except EOFError:
                return
            os.environ["SVMLIB_SEED"] = release["seeds"].get(exercise, "")
            submission, memory = Submission(student, exercise, data), memories.get(exercise, Memory())
            for _ in range(TRIES):
                verdict = grade(submission, exercises.get(exercise), memory, box.process, limits)
                if not verdict.reason.startswith(KILLED):
                    break
            pool.send_bytes(json.dumps(verdict._replace(layers=layers).as_dict()).encode())


def main() -> None:
    """Run until the pool closes the connection, or is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the pool's to handle
    pool: Any = Connection(int(sys.argv[1]))
    try:
        work(pool)
    except SandboxError as error:
        with contextlib.suppress(OSError):
            pool.send_bytes(json.dumps({"error": str(error)}).encode())
    except (ConnectionError, EOFError):
        pass


if __name__ == "__main__":
    main()
