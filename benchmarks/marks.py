"""How long the instructor's commands take in a class of 10,000 submissions."""

import tempfile
import time
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from autograder import notebooks, release
from autograder.__main__ import main
from autograder.classes import attempts, entries, marks, outcomes, roster

COUNT, CHUNK = 10_000, 100
ROOT = Path(__file__).resolve().parent.parent
SCRIPT = notebooks.scripts(ROOT / "tests" / "tiny" / "solutions")[0]
GIVEN = {"test_swap": 2.0, "test_words": 1.0, "bonus_arguments": 0.5, "why": None}


def timed(what, work):
    """Run it and print how long it took."""
    began = time.perf_counter()
    with redirect_stdout(StringIO()):
        work()
    print(f"{what:45} {time.perf_counter() - began:7.2f} s")


def fill(folder):
    """A class of which everybody handed in the release."""
    from datetime import UTC, datetime

    students = [f"s{number:05}" for number in range(COUNT)]
    data = notebooks.exercise(SCRIPT).encode()
    when = datetime(2026, 12, 1, tzinfo=UTC)
    all_of_them = [
        attempts.Attempt(one, SCRIPT.stem, when, True, False, attempts.digest(data), "", "")
        for one in students
    ]
    roster.write(folder, [roster.Student(one, "Given", one) for one in students])
    for one in all_of_them:
        attempts.store(folder, one, data)
    attempts.write(folder, all_of_them)
    outcomes.append(
        folder, [outcomes.Outcome(one.student, one.exercise, one.digest, "graded") for one in all_of_them]
    )
    return [entries.Entry(one, SCRIPT.stem, GIVEN, {}) for one in students]


def enter(folder, made):
    """Enter them all, a chunk in one transaction."""
    for first in range(0, COUNT, CHUNK):
        entries.enter(folder, made[first : first + CHUNK])


def run():
    """Measure each command on the same class."""
    with tempfile.TemporaryDirectory() as place:
        folder = release.new(Path(place) / "class")
        release.release(folder, [SCRIPT])
        made = fill(folder)
        print(f"{COUNT:,} submissions of four marks each")
        timed(f"entered in {COUNT // CHUNK} transactions", lambda: enter(folder, made))
        timed("dates and penalties entered", lambda: marks.write_dates(folder))
        timed("marks, a page on the terminal", lambda: main(["marks", str(folder), "--page", "90"]))
        timed(
            "marks, the page for the browser",
            lambda: main(["marks", str(folder), "--html", f"{place}/m.html"]),
        )
        timed("export to Canvas", lambda: main(["export", str(folder), "--to", "canvas"]))
        timed("report", lambda: main(["report", str(folder)]))


if __name__ == "__main__":
    run()
