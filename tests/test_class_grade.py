"""A class from its list to its marks and back; marks that stay; a cluster that loses a worker."""

import os
import shutil
import signal
import sqlite3
import subprocess

import nbformat
import pytest
from nbgrader.apps.api import NbGraderAPI
from nbgrader.coursedir import CourseDirectory

import classes
from autograder import engine, notebooks, release, sample
from autograder.__main__ import main
from autograder.classes import attempts, cluster, collect, gradebook, marks, outcomes, roster
from autograder.commands import grade as grade_command
from autograder.grade import grade
from classes import EXERCISE, SCRIPTS, TINY, zipped
from conftest import require
from postgresql import server

pytestmark = [
    pytest.mark.filterwarnings("default"),  # nbgrader's and sqlalchemy's own
    pytest.mark.xdist_group("tiny_class"),
]
SAMPLES = [one for one in sample.read_all(TINY / "sample_class") if "kills" not in one.student]
LIST = "Student,ID,SIS User ID,SIS Login ID,Section\n" + "".join(
    f'"{name}, Given",{number},U{number},{name.lower()},A\n'
    for number, name in enumerate(("Exchanged", "Canvasser", "Moodler", "Later", "Extended", "Excused"), 101)
)


@pytest.fixture(scope="module")
def inbox(tmp_path_factory):
    """The tiny sample class's submissions, as files."""
    place = tmp_path_factory.mktemp("inbox")
    for one in SAMPLES:
        sample.hand_in(one, place, SCRIPTS[0])
    return place


@pytest.fixture(scope="module")
def graded(inbox, tmp_path_factory):
    """A class with them, graded here."""
    folder = classes.copy(tmp_path_factory, tmp_path_factory.mktemp("graded") / "class")
    grade(folder, inbox, scripts=SCRIPTS)
    return folder


@pytest.fixture
def folder(graded, tmp_path):
    shutil.copytree(graded, tmp_path / "class")
    return tmp_path / "class"


def nbgraders(folder):
    """What formgrader asks."""
    return NbGraderAPI(CourseDirectory(config=release.config(folder)), config=release.config(folder))


def data(inbox, student):
    [path] = (inbox / student).rglob("*.ipynb")
    return path.read_bytes()


def test_the_round_trip_from_the_list_to_the_lms(tmp_path_factory, tmp_path, inbox, capsys):
    """List in, three ways to hand in, deadlines, marks, a hand's mark, feedback, and back to both systems."""
    folder = classes.copy(tmp_path_factory, tmp_path / "class")
    config = folder / "nbgrader_config.py"
    config.write_text(config.read_text("utf-8").replace("'none'", "'zero'"), "utf-8")
    right = data(inbox, "s01_right")
    other = data(inbox, "s02_other_design")
    (tmp_path / "list.csv").write_text(LIST, "utf-8")
    assert main(["roster", str(folder), str(tmp_path / "list.csv")]) == 0
    (folder / "deadlines.csv").write_text(
        f"exercise,student,due,excused,zone\n{EXERCISE},all,2026-12-01 23:59,,UTC\n"
        f"{EXERCISE},extended,2026-12-08 23:59,,UTC\n{EXERCISE},excused,,yes,\n",
        "utf-8",
    )
    for student, when in (
        ("exchanged", "2026-12-01 12:00:00.000000 UTC"),
        ("later", "2026-12-02 12:00:00.000000 UTC"),
        ("extended", "2026-12-02 12:00:00.000000 UTC"),
        ("excused", "2026-12-01 12:00:00.000000 UTC"),
    ):
        place = tmp_path / "exchange" / "inbound" / f"{student}+{EXERCISE}+{when}+xyz"
        place.mkdir(parents=True)
        (place / f"{EXERCISE}.ipynb").write_bytes(right)
        (place / "timestamp.txt").write_text(when)
    canvas = zipped(tmp_path / "canvas.zip", {f"canvassergiven_102_7_{EXERCISE}.ipynb": other})
    moodle = zipped(tmp_path / "moodle.zip", {"Given Moodler_9_assignsubmission_file_/Untitled.ipynb": right})
    for place in (tmp_path / "exchange", canvas, moodle):
        assert main(["collect", str(folder), str(place)]) == 0

    assert main(["grade", str(folder)]) == 0
    by_hand(folder, "exchanged", 2)
    assert main(["feedback", str(folder)]) == 0
    pages = sorted(path.parent.parent.name for path in (folder / "feedback").rglob("*.html"))
    assert pages == ["canvasser", "exchanged", "extended", "later", "moodler"]
    capsys.readouterr()
    assert main(["export", str(folder), "--to", "canvas"]) == 0
    lines = [line.split(",") for line in capsys.readouterr().out.splitlines()[2:]]
    back = {line[4]: line[-1] for line in lines}  # the name is "Last, First"
    assert back == {
        "exchanged": "5.5",
        "canvasser": "3.5",  # nothing was written: there is nothing to mark
        "moodler": "",
        "later": "",
        "extended": "",
        "excused": "EX",
    }
    by_hand(folder, "later", 2)
    by_hand(folder, "extended", 1)
    rows = {row.student: row for row in marks.rows(folder)}
    assert (rows["later"].raw, rows["later"].penalty, rows["later"].final) == (5.5, 5.5, 0)
    assert (rows["extended"].penalty, rows["extended"].final) == (0, 4.5)
    assert rows["excused"].status == "excused"
    assert "it was called Untitled.ipynb" in rows["moodler"].remarks


def by_hand(folder, student, points):
    with sqlite3.connect(folder / "gradebook.db") as connection:
        done = connection.execute(
            "UPDATE grade SET manual_score = ?, needs_manual_grade = 0 WHERE cell_id IN "
            "(SELECT id FROM base_cell WHERE name = 'why' AND type = 'GradeCell') AND notebook_id IN "
            "(SELECT n.id FROM submitted_notebook n JOIN submitted_assignment a ON a.id = n.assignment_id "
            "WHERE a.student_id = ?)",
            (points, student),
        )
        assert done.rowcount == 1


def harder(tmp_path):
    """The same exercise with another hidden test, which nobody passes."""
    script = tmp_path / "solutions" / SCRIPTS[0].name
    script.parent.mkdir()
    text = SCRIPTS[0].read_text("utf-8")
    text = text.replace('assert swap("c", "d") == ("d", "c")', 'import os; assert "SVMLIB_ODD" in os.environ')
    script.write_text(text, "utf-8")
    return script


def test_a_mark_moves_only_after_a_yes_and_a_hands_mark_never(folder, tmp_path, monkeypatch, capsys):
    by_hand(folder, "s01_right", 1.5)
    before = {row.student: row for row in marks.rows(folder)}
    monkeypatch.setenv("SVMLIB_ODD", "1")  # else the solution itself could not be released
    release.release(folder, [harder(tmp_path)], again=True)
    monkeypatch.delenv("SVMLIB_ODD")
    monkeypatch.setattr(notebooks, "scripts", lambda _: SCRIPTS)

    assert main(["grade", str(folder)]) == 4
    said = capsys.readouterr().err
    assert "s01_right 01_swap test_words: 1 -> 0" in said
    assert "repeat it with --yes" in said
    assert {row.student: row.cells for row in marks.rows(folder)} == {
        n: row.cells for n, row in before.items()
    }

    assert main(["grade", str(folder), "--yes"]) == 3
    after = {row.student: row for row in marks.rows(folder)}
    assert after["s01_right"].cells["test_words"].score == 0
    assert after["s01_right"].cells["why"].score == 1.5
    assert after["s01_right"].status == "final"


def changed(tmp_path, *, longer):
    """The same exercise with another visible test, and, where it is longer, one more."""
    script = tmp_path / SCRIPTS[0].name
    text = (
        SCRIPTS[0].read_text("utf-8").replace('swap("a", "b") == ("b", "a")', 'swap("b", "a") == ("a", "b")')
    )
    more = '# %% points=1 test="numbers"\nassert swap(3, 4)\n# BEGIN HIDDEN TESTS\n# END HIDDEN TESTS\n\n'
    script.write_text(text.replace("# %% bonus=1", more * longer + "# %% bonus=1"), "utf-8")
    return script


def test_who_handed_in_an_earlier_release_has_changed_nothing(tmp_path_factory, tmp_path, inbox):
    folder = classes.copy(tmp_path_factory, tmp_path / "class")
    release.release(folder, [changed(tmp_path, longer=True)], again=True)
    rows = {row.student: row for row in grade(folder, inbox, scripts=SCRIPTS)}
    theirs = "it is of an earlier release: graded with test_words, test_numbers of the later one"
    assert rows["s01_right"].remarks == rows["s07_stripped"].remarks == (theirs,)
    assert rows["s01_right"].cells["test_numbers"].score == 1
    restored = ("test_swap was changed: restored", "bonus_arguments was changed: restored")
    assert rows["s05_tampered"].remarks == (theirs, *restored)


def test_an_exercise_with_marks_is_not_released_with_a_cell_more_and_the_class_stays_whole(folder, tmp_path):
    before = marks.rows(folder)
    with pytest.raises(release.ReleaseError, match="no cell more or less: test_numbers"):
        release.release(folder, [changed(tmp_path, longer=True)], again=True)
    release.intact(folder)
    short = changed(tmp_path, longer=False)
    short.write_text(short.read_text("utf-8").replace("return b, a", "return a, b"), "utf-8")
    with pytest.raises(release.ReleaseError, match="its solution does not score"):
        release.release(folder, [short], again=True)
    release.intact(folder)
    assert marks.rows(folder) == before


def test_what_is_graded_is_not_judged_again(folder, monkeypatch):
    def never(*_):
        raise AssertionError("it was judged again")

    monkeypatch.setattr(engine.pool, "_Pool", never)
    before = (folder / outcomes.NAME).read_bytes()
    grade(folder, scripts=SCRIPTS)
    assert (folder / outcomes.NAME).read_bytes() == before


def test_a_gradebook_that_was_lost_is_filled_again_from_the_journal(folder, tmp_path_factory):
    before = marks.rows(folder)
    shutil.copy(classes.released(tmp_path_factory) / "gradebook.db", folder / "gradebook.db")
    assert {row.status for row in marks.rows(folder)} <= {"ungraded", "failed"}
    grade(folder, scripts=SCRIPTS)
    assert marks.rows(folder) == before


def test_a_run_that_was_interrupted_goes_on_and_ends_the_same(graded, inbox, tmp_path_factory, tmp_path):
    folder = classes.copy(tmp_path_factory, tmp_path / "class")

    def broken_off(*arguments):
        for number, verdict in enumerate(engine.grade(*arguments)):
            if number == 4:
                raise KeyboardInterrupt
            yield verdict

    with pytest.raises(KeyboardInterrupt):
        grade(folder, inbox, scripts=SCRIPTS, by=broken_off)
    assert len(outcomes.read(folder)) == 4
    assert marks.rows(folder) != marks.rows(graded)
    grade(folder, scripts=SCRIPTS)
    assert same(folder) == same(graded)


def same(folder):
    """All that grading decides, without what is random: row ids and times."""
    said = {place: one._replace(seconds=0) for place, one in outcomes.read(folder).items()}
    return marks.rows(folder), gradebook.read(folder), gradebook.comments(folder), said


def test_an_extension_granted_later_makes_a_later_attempt_count(folder, inbox):
    (folder / "deadlines.csv").write_text(
        f"exercise,student,due,excused,zone\n{EXERCISE},all,2026-12-01 23:59,,UTC\n", "utf-8"
    )
    attempts.write(folder, [one for one in attempts.read(folder) if one.student != "s04_hard_coded"])
    for student, when in (("s04_hard_coded", "2026-12-01 12:00"), ("s01_right", "2026-12-02 12:00")):
        [path] = (inbox / student).rglob("*.ipynb")
        at = classes.utc(when)
        list(collect.collect(folder, path, student="s04_hard_coded", when=at))
    grade(folder, scripts=SCRIPTS)
    [row] = [row for row in marks.rows(folder) if row.student == "s04_hard_coded"]
    assert row.cells["test_swap"].score == 0
    assert "1 later attempt came after the deadline" in row.remarks
    with (folder / "deadlines.csv").open("a") as file:
        file.write(f"{EXERCISE},s04_hard_coded,2026-12-03 23:59,,UTC\n")
    grade(folder, scripts=SCRIPTS)
    [row] = [row for row in marks.rows(folder) if row.student == "s04_hard_coded"]
    assert row.cells["test_swap"].score == 2


def test_formgrader_finds_the_notebook_and_its_dates(folder):
    api = nbgraders(folder)
    rows = marks.rows(folder)
    for row in rows:
        place = folder / "autograded" / row.student / EXERCISE
        assert place.is_dir() == bool(row.cells)
    shown = nbformat.read(folder / "autograded" / "s01_right" / EXERCISE / f"{EXERCISE}.ipynb", as_version=4)
    assert any("HIDDEN" in cell.source for cell in shown.cells)
    assert api.get_submitted_students(EXERCISE) == {row.student for row in rows}
    assert api.get_autograded_students(EXERCISE) == {row.student for row in rows if row.cells}
    assert api.get_assignment(EXERCISE)["num_submissions"] == len(rows)


def test_which_layers_took_is_kept_with_each_submission_and_said(folder, capsys):
    said = outcomes.read(folder).values()
    taken = tuple(layer.name for layer in engine.layers() if layer.taken)
    assert {one.layers for one in said} == {taken}
    assert main(["grade", str(folder)]) == 3
    assert f"{len(said)} submissions ran behind {', '.join(taken)}." in capsys.readouterr().out


def test_what_is_collected_first_and_is_nobody_s_is_told(folder, inbox, tmp_path, capsys):
    roster.write(folder, [roster.Student("s01_right")])
    place = zipped(tmp_path / "a.zip", {f"s99_who/{EXERCISE}.ipynb": data(inbox, "s01_right")})
    assert main(["grade", str(folder), "--submissions", str(place)]) in (0, 3)
    assert "unknown student: a.zip:s99_who" in capsys.readouterr().err
    assert main(["grade", str(folder), "--submissions", str(tmp_path / "b.zip")]) == 1
    assert "b.zip does not exist" in capsys.readouterr().err


def test_a_run_of_which_no_layers_are_on_record_is_said_to_be_that_whatever_ran_it():
    known = outcomes.Outcome("s1", EXERCISE, "", "graded", layers=("limits", "landlock"))
    unknown = known._replace(layers=())
    assert grade_command.protection([known, unknown, known]).splitlines() == [
        "2 submissions ran behind limits, landlock.",
        "1 submission: nothing is on record that protected from them.",
    ]
    assert grade_command.protection([]) == ""


def test_nbgrader_s_own_autograde_runs_nothing_and_says_what_grades_here(folder):
    before = same(folder)
    result = nbgraders(folder).autograde(EXERCISE, "s01_right")
    assert not result["success"]
    assert "python -m autograder grade" in result["log"]
    assert (folder / "autograded" / "s01_right" / EXERCISE / f"{EXERCISE}.ipynb").is_file()
    assert same(folder) == before


def test_what_formgrader_s_collect_has_fetched_is_graded(folder, inbox):
    place = folder / "submitted" / "new" / EXERCISE
    place.mkdir(parents=True)
    (place / f"{EXERCISE}.ipynb").write_bytes(data(inbox, "s01_right") + b"\n")
    (place / "timestamp.txt").write_text("2026-12-01 09:30:00.250000 UTC", encoding="utf-8")
    known = attempts.read(folder)
    grade(folder, scripts=SCRIPTS)
    [new] = set(attempts.read(folder)) - set(known)
    assert (new.student, new.exact) == ("new", True)
    assert new.when == classes.utc("2026-12-01 09:30").replace(microsecond=250_000)
    [row] = [row for row in marks.rows(folder) if row.student == "new"]
    assert (row.cells["test_swap"].score, row.cells["test_words"].score) == (2, 1)


# -- a cluster -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of this test's own, for the scheduler, its workers and its client."""
    from distributed import Security

    place = tmp_path_factory.mktemp("tls")
    words = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=test",
        "-keyout",
        "key.pem",
        "-out",
        "cert.pem",
    ]
    subprocess.run([require("openssl"), *words], cwd=place, check=True, capture_output=True)
    own = {
        f"tls_{role}_{kind}": str(place / f"{kind}.pem")
        for role in ("client", "scheduler", "worker")
        for kind in ("cert", "key")
    }
    return Security(tls_ca_file=str(place / "cert.pem"), require_encryption=True, **own)


@pytest.mark.slow
def test_a_cluster_gives_the_same_marks_though_a_worker_is_killed(
    graded, inbox, tmp_path_factory, tmp_path, certificate, monkeypatch
):
    from distributed import LocalCluster

    folder = classes.copy(tmp_path_factory, tmp_path / "class")
    monkeypatch.setattr(cluster, "CHUNK", 3)
    killed = []
    with LocalCluster(
        n_workers=2, threads_per_worker=1, protocol="tls", security=certificate, dashboard_address=None
    ) as workers:
        address = workers.scheduler_address
        assert address.startswith("tls://")

        def losing(*arguments):
            """As soon as one chunk is back, the worker that is at another is killed."""
            for verdict in cluster.engine(address, certificate)(*arguments):
                busy = [one for one in workers.scheduler.workers.values() if one.processing]
                if busy and not killed:
                    nannies = {one.worker_address: one for one in workers.workers.values()}
                    os.kill(nannies[busy[0].address].pid, signal.SIGKILL)
                    killed.append(busy[0].address)
                yield verdict

        grade(folder, inbox, scripts=SCRIPTS, by=losing)
    assert killed
    assert same(folder) == same(graded)


@pytest.mark.parametrize(
    "address, said",
    [
        ("tcp://grading.example.org:8786", "not encrypted"),
        ("tcp://192.0.2.1:8786", "not encrypted"),
        ("grading.example.org", "no scheduler"),
        ("http://127.0.0.1:80", "no scheduler"),
    ],
)
def test_hidden_tests_go_over_no_open_channel(address, said):
    with pytest.raises(release.ReleaseError, match=said):
        cluster.engine(address)


def test_a_scheduler_that_does_not_answer_is_named(folder, monkeypatch, capsys):
    monkeypatch.setattr(cluster, "PATIENCE", 1)
    (folder / outcomes.NAME).unlink()
    for journal in folder.glob("journal-*"):
        journal.unlink()
    assert main(["grade", str(folder), "--scheduler", "tcp://127.0.0.1:9"]) == 1
    assert "Is the scheduler running?" in capsys.readouterr().err


def test_a_gradebook_on_postgresql_gives_the_same_marks(graded, inbox, tmp_path):
    with server(require("postgresql")) as database:
        folder = release.new(tmp_path / "class", zone="Europe/Berlin", database=database("class"))
        (folder / "seed").write_bytes((graded / "seed").read_bytes())
        release.release(folder, SCRIPTS)
        grade(folder, inbox, scripts=SCRIPTS)
        assert same(folder) == same(graded)
