"""A grading to be killed: in a session of its own, so that what is left of it can be found."""

import os
import signal
import sys
from pathlib import Path
from typing import NamedTuple

from autograder import grade
from autograder.__main__ import main
from autograder.classes import gradebook

CHUNK = 3  # few, so that the gradebook is written to again and again


class Process(NamedTuple):
    """A line of the system's list of processes."""

    pid: int
    parent: int
    session: int


def run(
    folder: Path,
    said: Path,
    temporary: Path,
    *,
    calls: Path | None = None,
    kill_at: int = 0,
    patience: float = 30,
    chunk: int = CHUNK,
) -> None:
    """Grade a class; `calls` is where to write how many calls that took, `kill_at` the one to end at."""
    os.setsid()
    os.environ["TMPDIR"] = str(temporary)
    output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number in (1, 2):
        os.dup2(output, number)
    grade.CHUNK, gradebook.PATIENCE = chunk, patience
    count = 0

    def counted(frame: object, event: str, _: object) -> None:
        nonlocal count
        if event in ("call", "c_call"):
            count += 1
            if count == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    if calls or kill_at:
        sys.setprofile(counted)
    status = main(["grade", str(folder), "--workers", "2"])
    sys.setprofile(None)
    if calls:
        calls.write_text(str(count), "ascii")
    sys.exit(status)


def processes(session: int) -> list[Process]:
    """The living processes of a session."""
    found = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, *fields = place.read_text("utf-8", "replace").rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if state not in "ZX" and int(fields[2]) == session:
            found.append(Process(int(place.parent.name), int(fields[0]), session))
    return found


def below(session: int) -> tuple[list[int], list[int], list[int]]:
    """The workers of a grading, their zygotes, and the students' processes."""
    living = processes(session)
    levels: list[list[int]] = [[session]]
    for _ in range(3):
        levels.append([one.pid for one in living if one.parent in levels[-1]])
    return levels[1], levels[2], levels[3]
