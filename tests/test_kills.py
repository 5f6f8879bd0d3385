"""Nothing is lost: a grading that is killed, out of room, or without its gradebook is repeated, and ends the
same.
"""

import contextlib
import json
import multiprocessing
import os
import random
import re
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import deque
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

import classes
import victim
from autograder import engine, release, report, sample
from autograder.__main__ import COMMANDS
from autograder.classes import collect, gradebook, marks, outcomes
from autograder.engine import pool
from autograder.grade import grade as grade_class
from autograder.judge.release import Release, Submission
from autograder.judge.verdict import Verdict
from classes import EXERCISE, SCRIPTS, TINY
from conftest import missing

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="processes are found in Linux's /proc"),
    pytest.mark.filterwarnings("default"),  # nbgrader's and sqlalchemy's own
    pytest.mark.xdist_group("kills"),
]
SEED = 20201214
LOOK = 3  # grade's exit status: done, and some submissions failed
SLOW = "import time\n\n\ndef swap(*values):\n    time.sleep(0.03)\n    return values[::-1]"
BOUND = 20  # seconds in which everything of a killed run has to be gone
RUNS = multiprocessing.get_context("forkserver")  # a warm process of one thread, to fork gradings from
RUNS.set_forkserver_preload(["autograder.grade", *(f"autograder.commands.{name}" for name in COMMANDS)])


class Moment(NamedTuple):
    """When something is killed: at a share of the time until the first verdict, of the verdicts, or of the
    calls that it takes to enter them once they are in the journal.
    """

    what: str
    of: str
    share: float


def moments():
    """Thirty, spread over the run: each of a kind falls at random into a part of its own."""
    draw = random.Random(SEED)
    kinds = (
        ("main", "calls", 12),
        ("main", "start", 2),
        ("main", "verdicts", 4),
        ("all", "verdicts", 1),
        ("worker", "start", 2),
        ("worker", "verdicts", 2),
        ("workers", "verdicts", 1),
        ("zygote", "start", 1),
        ("zygote", "verdicts", 2),
        ("student", "verdicts", 3),
    )
    return [
        Moment(what, of, (part + draw.random()) / count) for what, of, count in kinds for part in range(count)
    ]


@pytest.fixture(scope="module")
def ungraded(tmp_path_factory):
    """A class with twelve small submissions, hostile and broken ones too, and four that take a while."""
    folder = classes.copy(tmp_path_factory, tmp_path_factory.mktemp("kills") / "class")
    inbox = tmp_path_factory.mktemp("inbox")
    samples = sample.read_all(TINY / "sample_class")
    slow = next(one for one in samples if one.student == "s02_other_design")
    slow = slow._replace(cells=dict.fromkeys(slow.cells, SLOW))
    for one in (*samples, *(slow._replace(student=f"slow{number}") for number in range(4))):
        sample.hand_in(one, inbox, SCRIPTS[0])
    list(collect.collect(folder, inbox))
    return folder


class Undisturbed(NamedTuple):
    """A run that was left alone: its class, what came of it, the seconds until its first verdict, how many
    verdicts, and the calls that it takes to enter them.
    """

    folder: Path
    result: object
    start: float
    verdicts: int
    calls: int


@pytest.fixture(scope="module")
def undisturbed(ungraded, tmp_path_factory):
    place = tmp_path_factory.mktemp("undisturbed")
    folder = place / "class"
    shutil.copytree(ungraded, folder)
    process = begun(folder)
    began = time.monotonic()
    assert wait_until(process, lambda: verdicts(folder))
    start = time.monotonic() - began
    process.join()
    assert process.exitcode == LOOK, said(folder)
    again = judged_only(ungraded, folder, place / "again")
    assert grade(again, calls=place / "calls") == LOOK
    assert result(again) == result(folder)
    calls = int((place / "calls").read_text("ascii"))
    return Undisturbed(folder, result(folder), start, verdicts(folder), calls)


def judged_only(ungraded, graded, to):
    """A class of which all is judged and nothing entered."""
    shutil.copytree(ungraded, to)
    for journal in graded.glob("journal-*"):
        shutil.copy(journal, to)
    return to


@pytest.fixture
def folder(ungraded, tmp_path):
    shutil.copytree(ungraded, tmp_path / "class")
    return tmp_path / "class"


@pytest.fixture
def judged(ungraded, undisturbed, tmp_path):
    return judged_only(ungraded, undisturbed.folder, tmp_path / "class")


@pytest.fixture
def graded(undisturbed, tmp_path):
    shutil.copytree(undisturbed.folder, tmp_path / "class")
    return tmp_path / "class"


def begun(folder, **options):
    """A grading on its way, in a session whose number is its process's."""
    temporary = folder.parent / "temporary"
    temporary.mkdir(exist_ok=True)
    process = RUNS.Process(
        target=victim.run, args=(folder, folder.parent / "said", temporary), kwargs=options
    )
    process.start()
    return process


def grade(folder, **options):
    """Grade to the end, until nobody of it is left; the exit status."""
    process = begun(folder, **options)
    process.join()
    assert left_of(process.pid) == []
    return process.exitcode


def said(folder):
    """What all gradings of a class have printed."""
    return (folder.parent / "said").read_text("utf-8")


def verdicts(folder):
    """How many verdicts are in the journal."""
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("journal-*"))


def result(folder):
    """All that a run leaves, but for what differs from run to run: the keys of rows, and seconds."""
    shown = {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in sorted((folder / "autograded").rglob("*"))
    }
    outcome = {place: one._replace(seconds=0) for place, one in outcomes.read(folder).items()}
    with closing(sqlite3.connect(folder / "gradebook.db")) as connection:
        tables = [one for (one,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        counts = {
            one: connection.execute(f"SELECT count(*) FROM {one}").fetchone()  # noqa: S608
            for one in sorted(tables)
        }
        whole = connection.execute("PRAGMA integrity_check").fetchall()
        dates = connection.execute(
            "SELECT student_id, timestamp, extension FROM submitted_assignment ORDER BY student_id"
        ).fetchall()
    table = report.as_csv(marks.rows(folder)), (folder / "grades.csv").read_text("utf-8")
    return table, gradebook.read(folder), gradebook.comments(folder), counts, whole, dates, outcome, shown


def wait_until(process, happened):
    """Wait for it; what it is, or None when the run ended before."""
    while not (found := happened()):
        if not process.is_alive():
            return None
        process.join(0.002)
    return found


def left_of(session):
    """Who of a session is left when all had time to end."""
    end = time.monotonic() + BOUND
    while (left := victim.processes(session)) and time.monotonic() < end:
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(left[0].pid)
            select.select([handle], [], [], BOUND)
            os.close(handle)
    return left


def targets(process, what):
    """The processes of a grading to kill, if they are there."""
    workers, zygotes, students = victim.below(process.pid)
    return {
        "main": [process.pid],
        "all": [process.pid, *workers, *zygotes, *students],
        "worker": workers[:1],
        "workers": workers,
        "zygote": zygotes[:1],
        "student": students[:1],
    }[what]


def kill(pids):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("moment", moments(), ids=lambda one: f"{one.what} at {one.share:.3f} of {one.of}")
def test_whatever_is_killed_at_whatever_moment_the_marks_are_the_same(request, undisturbed, moment):
    folder = request.getfixturevalue("judged" if moment.of == "calls" else "folder")
    process = begun(folder, kill_at=1 + int(moment.share * undisturbed.calls) if moment.of == "calls" else 0)
    if moment.of == "start":
        then = time.monotonic() + moment.share * undisturbed.start
        wait_until(process, lambda: time.monotonic() >= then or verdicts(folder))
    elif moment.of == "verdicts":
        wanted = moment.share * (undisturbed.verdicts if moment.what == "main" else undisturbed.verdicts - 4)
        wait_until(process, lambda: verdicts(folder) >= wanted)  # the last four are slow enough to be met
    if moment.of != "calls":
        found = wait_until(process, lambda: targets(process, moment.what))
        assert found, "the run had ended"
        kill(found)
    process.join()
    assert left_of(process.pid) == []
    if moment.of == "verdicts" and moment.what != "all":
        assert list((folder.parent / "temporary").iterdir()) == []
    if moment.what in ("main", "all"):
        assert process.exitcode == -signal.SIGKILL
        assert grade(folder) == LOOK, said(folder)
    else:
        assert process.exitcode == LOOK, said(folder)
    same(folder, undisturbed)


def same(folder, undisturbed):
    """A class is now what it is after an undisturbed run, and nobody saw Python's own words."""
    assert result(folder) == undisturbed.result
    assert "Traceback" not in said(folder)


def refused(folder, **options):
    """Grade in vain; the one line that says why."""
    before = len(said(folder)) if (folder.parent / "said").exists() else 0
    assert grade(folder, **options) == 1
    lines = [line for line in said(folder)[before:].splitlines() if line]
    assert len(lines) == 1, lines
    return lines[0]


def test_a_worker_that_has_nothing_to_do_may_be_killed(folder, undisturbed):
    process = begun(folder)
    ready = wait_until(process, lambda: verdicts(folder) == undisturbed.verdicts - 1)
    assert ready
    _, zygotes, _ = victim.below(process.pid)
    busy = {one.parent for one in victim.processes(process.pid) if one.parent in zygotes}
    kill(one.parent for one in victim.processes(process.pid) if one.pid in set(zygotes) - busy)
    process.join()
    assert process.exitcode == LOOK
    same(folder, undisturbed)


class Stub(pool._Worker):
    """A worker that is killed when it has answered: the first one that there is."""

    made = 0

    def __init__(self, *_):
        Stub.made += 1
        self.is_first = Stub.made == 1
        self.connection, self.theirs = multiprocessing.Pipe()
        self.given, self.deadline = deque(), time.monotonic() + BOUND
        self.is_ready = self.is_gone = False
        self.theirs.send_bytes(b'{"layers": []}')

    def give(self, submission, data, seconds):
        super().give(submission, data, seconds)
        self.theirs.send_bytes(json.dumps(verdict(submission).as_dict()).encode())
        if self.is_first:
            self.theirs.close()

    def end(self):
        self.connection.close()


def verdict(submission):
    return Verdict(submission.student, submission.exercise, "graded", digest=submission.digest)


def test_what_a_worker_said_before_it_was_killed_counts(monkeypatch):
    monkeypatch.setattr(pool, "_Worker", Stub)
    handed_in = [Submission(student, EXERCISE, b"") for student in "abcd"]
    options = engine.Options(workers=1, trusted=True)
    found = list(engine.grade(Release({}, {}, {}), handed_in, options))
    assert sorted(found) == [verdict(one) for one in handed_in]
    assert Stub.made == 2


def flipped(line, place):
    """A byte of a line exchanged for its neighbour: 3 becomes 2, the JSON may stay JSON."""
    return line[:place] + bytes([line[place] ^ 1]) + line[place + 1 :]


def test_damaged_lines_of_the_journal_are_told_once_and_judged_again(judged, undisturbed):
    [journal] = judged.glob("journal-*")
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[0] = flipped(lines[0], lines[0].index(b'"points":') + len(b'"points":'))
    assert json.loads(lines[0][lines[0].index(b"{") :])
    lines[1] = flipped(lines[1], 70)  # in the checksum
    lines[3] = b"\xff" + lines[3][1:]
    lines[5] = lines[5].replace(b"{", b"[", 1)
    lines[7] = lines[7][:100] + b"\0" * 300 + lines[7][400:]
    lines[8] = b"\n" + lines[8][1:]
    journal.write_bytes(b"".join(lines)[:-10])
    assert grade(judged) == LOOK
    assert f"{journal}: 6 lines were damaged on the disk; what was there is judged again" in said(judged)
    same(judged, undisturbed)
    assert grade(judged) == LOOK
    assert said(judged).count("damaged on the disk") == 1
    same(judged, undisturbed)


def test_a_verdict_with_a_flipped_bit_is_not_taken(tmp_path):
    one, options = Submission("jane", EXERCISE, b"{}"), ""
    with engine.Journal(tmp_path / "whole") as journal:
        journal.append(verdict(one), Release({}, {}, {}), options)
    line, path = (tmp_path / "whole").read_bytes(), tmp_path / "flipped"
    for place in random.Random(SEED).sample(range(len(line) * 8 - 8), 100):
        harmed = bytearray(line)
        harmed[place // 8] ^= 1 << place % 8
        path.write_bytes(harmed)
        with engine.Journal(path) as journal:
            assert journal.known(one, Release({}, {}, {}), options) is None
            assert journal.damaged >= 1


def test_a_journal_without_checksums_is_read(graded, undisturbed):
    [journal] = graded.glob("journal-*")
    lines = journal.read_bytes().splitlines(keepends=True)
    older = [line[:65] + line[74:] for line in lines]
    older[2] = older[2].replace(b'"marks":', b'"narks":')
    journal.write_bytes(b"".join(older))
    assert grade(graded) == LOOK
    assert f"{journal}: 1 line was damaged" in said(graded)
    assert journal.read_bytes().count(b"\n") == len(lines) + 1
    same(graded, undisturbed)


# -- a full disk ---------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A folder for a class that is a small file system of its own, in memory."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        missing("only root may mount a small file system to fill")
    options = ["-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs"]
    done = subprocess.run(["mount", *options, place], check=False, capture_output=True, text=True)
    if done.returncode:
        missing(f"no small file system to fill: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@contextlib.contextmanager
def filled(disk, left):
    """A disk that is full but for so many bytes."""
    room, ballast = os.statvfs(disk), disk / "ballast"
    ballast.write_bytes(b"." * (room.f_bavail * room.f_frsize - left))
    yield
    ballast.unlink()


def full(folder, left, **options):
    """Grade on a disk with so many kB left: what was full, or nothing; and then again, with room."""
    with filled(folder, left << 10):
        if grade(folder, **options) == LOOK:
            return ""
        line = said(folder).splitlines()[-1]
    assert str(folder) in line
    assert re.search("full|No space left", line)
    assert re.search("[Mm]ake room", line)
    assert grade(folder) == LOOK, said(folder)
    return next((one for one in ("journal", "gradebook") if f"/{one}" in line), "a folder")


@pytest.mark.parametrize("left", [0, 8])
def test_without_room_for_verdicts_the_journal_is_named_and_with_it_the_run_ends_the_same(
    ungraded, undisturbed, small_disk, left
):
    shutil.copytree(ungraded, small_disk, dirs_exist_ok=True)
    assert full(small_disk, left) in ("journal", "gradebook")
    same(small_disk, undisturbed)


@pytest.mark.slow
def test_without_room_for_what_is_entered_it_is_named_and_with_it_the_run_ends_the_same(
    judged, undisturbed, small_disk, tmp_path
):
    """Whatever room is left: none, or too little for the last file only."""
    found = []
    for left in (0, 32, *range(64, 400, 4)):
        for one in small_disk.iterdir():
            shutil.rmtree(one) if one.is_dir() else one.unlink()
        shutil.copytree(judged, small_disk, dirs_exist_ok=True)
        if not (what := full(small_disk, left, chunk=100)):
            break
        found.append(what)
        same(small_disk, undisturbed)
    assert {"gradebook", "a folder"} == set(found), found


# -- a gradebook that cannot be had --------------------------------------------------------------------------


@contextlib.contextmanager
def locked(folder, how):
    """Another program that holds the gradebook."""
    with closing(sqlite3.connect(folder / "gradebook.db", isolation_level=None)) as connection:
        connection.execute(f"BEGIN {how}")
        yield
        connection.execute("ROLLBACK")


@pytest.mark.parametrize("how", ["EXCLUSIVE", "IMMEDIATE"])
def test_a_locked_gradebook_is_named_and_once_it_is_free_the_run_ends_the_same(judged, undisturbed, how):
    with locked(judged, how):
        line = refused(judged, patience=0.2)
    assert f"{judged}/gradebook.db: locked for 0.2 s by another program. Close it" in line
    assert outcomes.read(judged) == {}
    assert grade(judged) == LOOK
    same(judged, undisturbed)


def head(data):
    return b"\0" * 100 + data[100:]


def middle(data):
    draw = random.Random(SEED)
    return data[: len(data) // 2] + draw.randbytes(4096) + data[len(data) // 2 + 4096 :]


def cut(data):
    return data[: len(data) // 2]


@pytest.mark.parametrize("harm", [head, middle, cut])
def test_a_damaged_gradebook_is_named_and_a_copy_put_back_ends_the_same(graded, undisturbed, harm):
    path = graded / "gradebook.db"
    whole = path.read_bytes()
    path.write_bytes(harm(whole))
    line = refused(graded)
    assert f"{path}: damaged" in line
    assert "Move the file away and grade again" in line
    assert path.read_bytes() == harm(whole)
    path.write_bytes(whole)
    assert grade(graded) == LOOK
    same(graded, undisturbed)


def test_a_class_whose_making_was_broken_off_is_made_to_its_end(tmp_path, monkeypatch):
    folder, inbox = tmp_path / "class", tmp_path / "inbox"
    [one] = [one for one in sample.read_all(TINY / "sample_class") if one.student == "s01_right"]
    sample.hand_in(one, inbox, SCRIPTS[0])

    def broken_off(folder, exercise):
        with closing(sqlite3.connect(folder / "gradebook.db")) as connection:
            connection.execute("CREATE TABLE assignment (name)")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(release, "_generate", broken_off)
        with pytest.raises(KeyboardInterrupt):
            grade_class(folder, inbox, scripts=SCRIPTS)
    [row] = grade_class(folder, inbox, scripts=SCRIPTS)
    assert str(row) == "3/5 +0.5 bonus, 2 to mark"
    with closing(sqlite3.connect(folder / "gradebook.db")) as connection:
        assert connection.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)


def test_a_gradebook_that_was_moved_away_is_made_again(graded, undisturbed):
    (graded / "gradebook.db").rename(graded / "damaged.db")
    given_out = {path: path.stat().st_mtime_ns for path in (graded / "release").rglob("*.ipynb")}
    assert grade(graded) == LOOK
    assert {path: path.stat().st_mtime_ns for path in (graded / "release").rglob("*.ipynb")} == given_out
    (graded / "damaged.db").unlink()
    same(graded, undisturbed)
