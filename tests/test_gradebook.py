"""The gradebook: what is entered is what nbgrader itself would have entered, all of it or nothing."""

import sqlite3
import threading

import pytest

from autograder import engine, release
from autograder.judge import Mark, Verdict

pytestmark = pytest.mark.filterwarnings("default")  # nbgrader's and sqlalchemy's own

EXERCISE = "01_swap"
MARKS = {
    "test_swap": Mark(2.0, 2),
    "test_words": Mark(0.0, 1, reason="wrong"),
    "bonus_arguments": Mark(0.5, 1),
    "why": Mark(None, 2, by_hand=True),
}


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """The bytes of a gradebook that knows the exercise and no submission."""
    from nbgrader.api import Gradebook

    path = tmp_path_factory.mktemp("gradebook") / "gradebook.db"
    with Gradebook(f"sqlite:///{path}", "svmlib") as book:
        book.add_assignment(EXERCISE)
        book.add_notebook(EXERCISE, EXERCISE)
        for name, mark in MARKS.items():
            kind = "markdown" if mark.by_hand else "code"
            book.add_grade_cell(name, EXERCISE, EXERCISE, max_score=mark.worth, cell_type=kind)
        book.add_solution_cell("why", EXERCISE, EXERCISE)
    return path.read_bytes()


@pytest.fixture
def path(empty, tmp_path):
    path = tmp_path / "gradebook.db"
    path.write_bytes(empty)
    return path


def url(path):
    return f"sqlite:///{path}"


def verdict(student="ada", status="graded", **marks):
    changed = {name: MARKS[name]._replace(points=points) for name, points in marks.items()}
    return Verdict(student, EXERCISE, status, marks=MARKS | changed if status == "graded" else {})


def entered(path, student="ada"):
    """What nbgrader reads: (automatic, by hand, waits) of each cell."""
    from nbgrader.api import Gradebook

    with Gradebook(url(path), "svmlib") as book:
        found = book.find_submission_notebook(EXERCISE, EXERCISE, student)
        return {g.name: (g.auto_score, g.manual_score, g.needs_manual_grade) for g in found.grades}


def by_hand(path, name, score, student="ada"):
    from nbgrader.api import Gradebook

    with Gradebook(url(path), "svmlib") as book:
        grade = book.find_grade(name, EXERCISE, EXERCISE, student)
        grade.manual_score, grade.needs_manual_grade = score, False
        book.db.commit()


def test_nbgrader_finds_the_marks_and_what_waits_for_a_hand(path):
    assert engine.gradebook.write(url(path), [verdict()]) == []
    assert entered(path) == {
        "test_swap": (2.0, None, False),
        "test_words": (0.0, None, False),
        "bonus_arguments": (0.5, None, False),
        "why": (None, None, True),
    }


def test_the_blank_answer_is_commented_as_nbgrader_does(path):
    from nbgrader.api import Gradebook

    blank = verdict()
    blank.marks["why"] = Mark(0.0, 2, by_hand=True, comment="No response.")
    engine.gradebook.write(url(path), [blank])
    with Gradebook(url(path), "svmlib") as book:
        assert book.find_comment("why", EXERCISE, EXERCISE, "ada").comment == "No response."


def test_a_mark_by_hand_stays_and_another_attempt_asks_for_the_hand_again(path):
    engine.gradebook.write(url(path), [verdict()])
    by_hand(path, "why", 1.5)
    engine.gradebook.write(url(path), [verdict()], same={("ada", EXERCISE)})
    assert entered(path)["why"] == (None, 1.5, False)
    engine.gradebook.write(url(path), [verdict()])
    assert entered(path)["why"] == (None, 1.5, True)


def test_what_would_move_is_told_before_and_after(path):
    engine.gradebook.write(url(path), [verdict(), verdict("bob")])
    again = [verdict(test_words=1.0), verdict("bob")]
    expected = [engine.gradebook.Change("ada", EXERCISE, "test_words", 0.0, 1.0)]
    assert engine.gradebook.changes(url(path), again) == expected
    assert entered(path)["test_words"][0] == 0
    assert engine.gradebook.write(url(path), again) == expected
    assert entered(path)["test_words"][0] == 1


def test_a_failed_submission_has_no_rows_and_takes_the_marks_of_an_earlier_one_away(path):
    engine.gradebook.write(url(path), [verdict("bob"), verdict("eve", status="failed")])
    with sqlite3.connect(path) as book:
        assert book.execute("select student_id from submitted_assignment").fetchall() == [("bob",)]
    engine.gradebook.write(url(path), [verdict("bob", status="failed")])
    assert {row[0] for row in entered(path, "bob").values()} == {None}


def test_many_write_at_once_and_nothing_is_lost(path):
    def write(start):
        for number in range(start, start + 10):
            engine.gradebook.write(url(path), [verdict(f"s{number % 15}")])

    writers = [threading.Thread(target=write, args=(start,)) for start in (0, 3, 5)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    with sqlite3.connect(path) as book:
        assert book.execute(
            "select count(*), count(distinct student_id) from submitted_assignment"
        ).fetchone() == (15, 15)
        assert book.execute("select count(*) from grade").fetchone() == (60,)


def test_a_locked_gradebook_says_so_and_nothing_of_the_chunk_is_in_it(path, monkeypatch):
    monkeypatch.setattr(engine.gradebook, "PATIENCE", 0.1)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("begin exclusive")
    with pytest.raises(release.ReleaseError, match=r"locked.*run the same command again"):
        engine.gradebook.write(url(path), [verdict()])
    holder.execute("rollback")
    holder.close()
    engine.gradebook.write(url(path), [verdict()])
    assert len(entered(path)) == 4


def test_a_damaged_gradebook_says_what_to_do(path):
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(release.ReleaseError, match=r"not a database.*damaged"):
        engine.gradebook.write(url(path), [verdict()])


def test_a_chunk_that_breaks_in_the_middle_leaves_nothing(path):
    broken = verdict("bob")._replace(student=None)
    with pytest.raises(release.ReleaseError):
        engine.gradebook.write(url(path), [verdict(), broken])
    with sqlite3.connect(path) as book:
        assert book.execute("select count(*) from student").fetchone() == (0,)
