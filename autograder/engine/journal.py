"""Verdicts on disk, a line each: nothing is lost when a run is broken off, and nothing is graded twice.

A verdict is known by what decides it: student, exercise, the file, the release, the engine's options. A line
is that key, a checksum of all the rest, and the verdict as JSON; journals of before have no checksums. A line
that was not written to its end is dropped when the journal is opened. One that was damaged since is told, and
then begins with "# "; its submission is judged again.
"""

import base64
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import zlib
from pathlib import Path
from typing import Any, Self

from ..judge.release import Release, Submission
from ..judge.verdict import Verdict

#: Lines that may be lost to a power failure; to a kill none is.
SYNC = 50
#: Begins a line whose damage has been told: two bytes, which no single flipped bit makes of a key.
MARK = b"# "
LINE = re.compile(rb"([0-9a-f]{64}) (?:([0-9a-f]{8}) )?(\{.*\})\n")
_TEXTS = ("notebook", "feedback")


class JournalError(Exception):
    """The journal cannot be written or read; the message says why and what to do."""


class Journal:
    """An append-only file of verdicts, for one run at a time."""

    def __init__(self, path: Path):
        """Open it, or begin it; JournalError while another run writes to it."""
        self.path = path
        try:
            self.file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JournalError(f"{path}: another run is grading this class; wait for its end") from None
        except OSError as error:
            raise JournalError(
                f"{path}: {error.strerror}: mend that, then run the same command again"
            ) from None
        #: Where the verdict of a key lies: its line's begin and length.
        self.places: dict[str, tuple[int, int]] = {}
        #: How many lines were found damaged.
        self.damaged = 0
        self.end = 0
        self.unsynced = 0
        self._read()

    def _read(self) -> None:
        """Note where each verdict lies; cut off what was not written to its end."""
        with self.path.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                found = LINE.fullmatch(line)
                if found and found[2] in (None, _sum(found[1], found[3])):
                    self.places[found[1].decode()] = (self.end, len(line))
                elif not line.startswith(MARK) and len(line) > len(MARK):
                    self._is_damaged(self.end)
                self.end += len(line)
        os.ftruncate(self.file, self.end)

    def _is_damaged(self, place: int) -> None:
        """Count a line, and have it counted no more."""
        self.damaged += 1
        with contextlib.suppress(OSError):  # a disk that is full of faults: it is counted again
            os.pwrite(self.file, MARK, place)

    @property
    def damage(self) -> str:
        """What is to be said of damaged lines; nothing where there are none."""
        lines = "1 line was" if self.damaged == 1 else f"{self.damaged:,} lines were"
        told = f"{lines} damaged on the disk; what was there is judged again. Is the disk in order?"
        return f"{self.path}: {told}" if self.damaged else ""

    def known(self, submission: Submission, release: Release, options: str) -> Verdict | None:
        """The verdict that was given before, if everything that decides it is the same."""
        key = _key(submission, release, options)
        place = self.places.get(key)
        if place is None:
            return None
        line = os.pread(self.file, place[1], place[0])
        try:
            found = json.loads(line[line.index(b"{") :])
            for name in _TEXTS:
                found[name] = zlib.decompress(base64.b85decode(found[name])).decode()
            return Verdict.from_dict(found)
        except (ValueError, LookupError, TypeError, zlib.error):  # it has no checksum
            del self.places[key]
            self._is_damaged(place[0])
            return None

    def append(self, verdict: Verdict, release: Release, options: str) -> None:
        """Write a verdict. JournalError when the disk is full; what was written before stays whole."""
        found: dict[str, Any] = verdict.as_dict()
        for name in _TEXTS:
            found[name] = base64.b85encode(zlib.compress(found[name].encode(), 1)).decode("ascii")
        key = _key(verdict, release, options)
        said = json.dumps(found, separators=(",", ":")).encode()
        line = b" ".join((key.encode(), _sum(key.encode(), said), said)) + b"\n"
        try:
            written = os.pwrite(self.file, line, self.end)
            if written != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            os.ftruncate(self.file, self.end)
            raise JournalError(
                f"{self.path}: {error.strerror}. {len(self.places)} verdicts are safe; make room and run the "
                "same command again, it goes on where it stopped"
            ) from None
        self.places[key] = (self.end, len(line))
        self.end += len(line)
        self.unsynced += 1
        if self.unsynced >= SYNC:
            self.flush()

    def flush(self) -> None:
        """Have it all on the disk."""
        os.fsync(self.file)
        self.unsynced = 0

    def close(self) -> None:
        """Let another run have it."""
        self.flush()
        os.close(self.file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _sum(*parts: bytes) -> bytes:
    return b"%08x" % zlib.crc32(b" ".join(parts))


def _key(of: Submission | Verdict, release: Release, options: str) -> str:
    parts = [of.student, of.exercise, of.digest, release.digest, options]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
