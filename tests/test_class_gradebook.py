"""The gradebook on SQLite and on a real PostgreSQL: nbgrader's own rows, many graders, nothing lost."""

import threading

import pytest
from sqlalchemy import inspect, text

from autograder import release
from autograder.classes import entries, gradebook
from autograder.classes.entries import Change, Entry
from classes import EXERCISE, SCRIPTS
from conftest import require
from postgresql import server

pytestmark = [
    pytest.mark.filterwarnings("default"),  # nbgrader's and sqlalchemy's own
    pytest.mark.xdist_group("tiny_class"),
]
MARKS = {"test_swap": 2.0, "test_words": 0.0, "bonus_arguments": 0.5, "why": None}
NO_ANSWER = {"why": "No response."}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def new_class(request, tmp_path_factory):
    """Makes a class whose gradebook is on one of the two, with nothing released."""
    place = tmp_path_factory.mktemp("gradebook")
    if request.param == "sqlite":
        yield lambda name: release.new(place / name)
        return
    with server(require("postgresql")) as database:
        yield lambda name: release.new(place / name, database=database(name))


@pytest.fixture(scope="module")
def folder(new_class):
    """A released class."""
    made = new_class("class")
    release.release(made, SCRIPTS)
    return made


def entry(student, marks=MARKS, **more):
    return Entry(student, EXERCISE, marks, NO_ANSWER, **more)


def run(folder, statement, **values):
    with gradebook.connect(gradebook.url(folder)) as connection:
        done = connection.execute(text(statement), values)
        return [tuple(row) for row in done] if done.returns_rows else done.rowcount


OF = """notebook_id IN (SELECT n.id FROM submitted_notebook n
    JOIN submitted_assignment a ON a.id = n.assignment_id WHERE a.student_id = :student)"""
BY_HAND = f"""UPDATE grade SET manual_score = :points, needs_manual_grade = :no
    WHERE {OF} AND cell_id IN (SELECT id FROM base_cell WHERE name = :cell)"""  # noqa: S608
ROWS = (
    f"""SELECT cell_id, auto_score, manual_score, extra_credit, needs_manual_grade
        FROM grade WHERE {OF} ORDER BY 1""",  # noqa: S608
    f"SELECT cell_id, auto_comment, manual_comment FROM comment WHERE {OF} ORDER BY 1",  # noqa: S608
    "SELECT assignment_id, timestamp, extension FROM submitted_assignment WHERE student_id = :student",
    """SELECT n.notebook_id, n.flagged, n.late_submission_penalty FROM submitted_notebook n
        JOIN submitted_assignment a ON a.id = n.assignment_id WHERE a.student_id = :student""",
)


def by_hand(folder, student, points, cell="why"):
    """What formgrader does when a grader types a number."""
    done = run(folder, BY_HAND, points=points, no=False, student=student, cell=cell)
    assert done == 1


def scores(folder, student):
    return gradebook.read(folder)[student, EXERCISE]


def test_entries_are_the_rows_that_nbgrader_itself_makes(folder):
    from nbgrader.api import Gradebook

    with Gradebook(gradebook.url(folder), "svmlib") as book:
        book.update_or_create_student("theirs")
        submission = book.update_or_create_submission(EXERCISE, "theirs")
        for grade in submission.notebooks[0].grades:
            grade.auto_score, grade.needs_manual_grade = MARKS[grade.name], MARKS[grade.name] is None
        for comment in submission.notebooks[0].comments:
            comment.auto_comment = NO_ANSWER.get(comment.name)
        book.db.commit()
    entries.enter(folder, [entry("ours")])
    for query in ROWS:
        assert run(folder, query, student="ours") == run(folder, query, student="theirs")
    with Gradebook(gradebook.url(folder), "svmlib") as book:
        assert book.find_submission(EXERCISE, "ours").score == 2.5


def test_a_hand_mark_stays_settled_for_the_same_file_and_is_asked_for_again_for_another(folder):
    entries.enter(folder, [entry("hand")])
    by_hand(folder, "hand", 1.5)
    entries.enter(folder, [entry("hand", MARKS | {"test_words": 1.0}, same=True)])
    now = scores(folder, "hand")
    assert (now["why"].score, now["test_words"].score) == (1.5, 1.0)
    entries.enter(folder, [entry("hand")])
    now = scores(folder, "hand")["why"]
    assert (now.manual, now.waits) == (1.5, True)


def test_changes_tell_what_would_move_and_write_nothing(folder):
    entries.enter(folder, [entry("moved")])
    by_hand(folder, "moved", 0.0, cell="bonus_arguments")
    better = entry("moved", {"test_swap": 2.0, "test_words": 1.0, "bonus_arguments": 1.0, "why": None})
    assert entries.changes(gradebook.read(folder), [better, entry("nobody")]) == [
        Change("moved", EXERCISE, "test_words", 0.0, 1.0)
    ]
    assert scores(folder, "moved")["test_words"].score == 0.0


def test_a_submission_that_fails_now_has_no_marks_by_tests(folder):
    entries.enter(folder, [entry("fails")])
    by_hand(folder, "fails", 2.0)
    entries.enter(folder, [Entry("fails", EXERCISE, {}, {})])
    now = scores(folder, "fails")
    assert now["why"].manual == 2.0
    assert all(one.auto is None and one.waits for one in now.values())


def test_a_chunk_is_entered_whole_or_not_at_all(folder):
    unknown = Entry("half", "99_unknown", MARKS, {})
    with pytest.raises(release.ReleaseError, match="does not know 99_unknown"):
        entries.enter(folder, [entry("half"), unknown])
    assert ("half", EXERCISE) not in gradebook.read(folder)
    assert run(folder, "SELECT id FROM student WHERE id = 'half'") == []


def test_many_graders_at_once_lose_nothing(folder, monkeypatch):
    """Four enter overlapping chunks, again and again, while two mark by hand what is there already."""
    students = [f"many{number:02}" for number in range(24)]
    entries.enter(folder, [entry(one) for one in students[:12]])
    failures = []

    def guarded(work):
        try:
            work()
        except Exception as error:  # noqa: BLE001  # shown below
            failures.append(error)

    def tests(offset):
        for turn in range(4):
            some = students[offset : offset + 12]
            entries.enter(folder, [entry(one, MARKS | {"test_words": turn / 4}, same=True) for one in some])

    def hands(some):
        for one in some:
            by_hand(folder, one, 1.25)

    work = [lambda n=n: tests(n) for n in (0, 4, 8, 12)]
    work += [lambda: hands(students[:6]), lambda: hands(students[6:12])]
    threads = [threading.Thread(target=guarded, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    now = gradebook.read(folder)
    for number, one in enumerate(students):
        found = now[one, EXERCISE]
        assert len(found) == 4
        assert found["test_words"].auto == 0.75
        assert (found["why"].manual, found["why"].waits) == ((1.25, False) if number < 12 else (None, True))
    counts = run(folder, "SELECT count(*), count(DISTINCT student_id) FROM submitted_assignment")
    assert counts[0][0] == counts[0][1]


def test_forget_deletes_rows_of_one_student_alone(folder):
    entries.enter(folder, [entry("stays"), entry("goes")])
    before = scores(folder, "stays")
    assert gradebook.forget(folder, "goes") == 1
    assert ("goes", EXERCISE) not in gradebook.read(folder)
    assert scores(folder, "stays") == before


@pytest.fixture
def quick(monkeypatch):
    """A release that does not run the solution first."""
    monkeypatch.setattr(release, "_verify", lambda *_: None)


def tables(folder):
    with gradebook.connect(gradebook.url(folder)) as connection:
        return set(inspect(connection).get_table_names())


def test_a_gradebook_is_made_in_one_transaction_or_not_at_all(new_class, monkeypatch):
    made = new_class("broken_off")
    with monkeypatch.context() as patched:
        patched.setattr("alembic.script.ScriptDirectory.get_current_head", interrupted)
        with pytest.raises(KeyboardInterrupt):
            gradebook.make(made)
    assert tables(made) == set()
    gradebook.make(made)
    assert tables(made) > gradebook.TABLES.keys()


def interrupted(*_):
    raise KeyboardInterrupt


def test_tables_that_nbgrader_has_half_made_are_made_anew_but_never_where_there_are_rows(new_class, quick):
    made = new_class("half")
    run(made, "CREATE TABLE assignment (id VARCHAR(32) PRIMARY KEY)")
    run(made, "INSERT INTO assignment VALUES ('kept')")
    with pytest.raises(release.ReleaseError, match=r"assignment has rows, but .* name an empty database"):
        release.release(made, SCRIPTS)
    assert run(made, "SELECT * FROM assignment") == [("kept",)]
    run(made, "DELETE FROM assignment")
    release.release(made, SCRIPTS)
    assert gradebook.known(made) == {EXERCISE}
    assert len(run(made, "SELECT version_num FROM alembic_version")) == 1


def test_an_exercise_that_is_half_in_the_gradebook_is_entered_again(new_class, quick):
    made = new_class("half_entered")
    release.release(made, SCRIPTS)
    of_one = "(SELECT id FROM base_cell WHERE name = 'test_words')"
    run(made, f"DELETE FROM grade_cells WHERE id IN {of_one}")  # noqa: S608
    run(made, "DELETE FROM base_cell WHERE name = 'test_words'")
    assert gradebook.known(made) == set()
    release.into_gradebook(made, [EXERCISE])
    assert gradebook.known(made) == {EXERCISE}
    entries.enter(made, [entry("anna")])
    assert len(scores(made, "anna")) == len(MARKS)


def test_a_server_that_does_not_answer_is_named_without_its_password(tmp_path):
    folder = release.new(tmp_path / "class", database="postgresql+psycopg://teacher:geheim@127.0.0.1:9/class")
    with pytest.raises(release.ReleaseError, match="is the server running") as caught:
        gradebook.check(gradebook.url(folder))
    assert "geheim" not in str(caught.value)
