"""A class's other commands: feedback is one student's, forget leaves nothing, doctor says what is amiss."""

import json
import shlex
import shutil
import sqlite3
import subprocess
import sys

import nbformat
import pytest

import classes
from autograder import notebooks, release
from autograder.__main__ import COMMANDS, main
from autograder.classes import deadlines, doctor, feedback, forget, marks, outcomes, roster
from autograder.student.layers import Layer
from classes import EXERCISE, FULL, SCRIPTS, arrived, graded

pytestmark = [
    pytest.mark.filterwarnings("default"),  # nbgrader's and sqlalchemy's own
    pytest.mark.xdist_group("tiny_class"),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A class of two, graded, with the notebooks as they ran: outputs of every kind."""
    folder = classes.copy(tmp_path_factory, tmp_path_factory.mktemp("folder") / "class")
    roster.write(folder, [roster.Student("anna1", "Anna", "A"), roster.Student("bert22", "Bert", "B")])
    (folder / "deadlines.csv").write_text(
        f"exercise,student,due,excused,zone\n{EXERCISE},all,2026-12-01 23:59,,\n{EXERCISE},anna1,,no,\n",
        "utf-8",
    )
    for student in ("anna1", "bert22"):
        attempt = arrived(folder, student, "2026-12-01 12:00", data=student.encode())
        graded(folder, attempt, **FULL)
        notebook = nbformat.reads(notebooks.source(SCRIPTS[0]), as_version=4)
        for cell in notebook.cells:
            if cell.id == "why":
                cell.source = (
                    f"{student} wrote <script>alert(1)</script> ![x](http://example.org/x.png) **this**"
                )
            if cell.id == "test_words":
                trace = ['AssertionError: assert swap("c", "d") == ("d", "c")  # hidden']
                cell.outputs = [
                    nbformat.v4.new_output("error", ename="CheckFailed", evalue="GS is odd", traceback=trace)
                ]
            if cell.id == "swap":
                cell.outputs = [
                    nbformat.v4.new_output(
                        "stream", name="stdout", text="\x1b[31mred\x1b[0m " + "x" * 30_000
                    ),
                    nbformat.v4.new_output(
                        "display_data",
                        data={"text/html": "<script>evil()</script>", "text/plain": "<Widget>"},
                    ),
                ]
        path = folder / "autograded" / student / EXERCISE / f"{EXERCISE}.ipynb"
        path.parent.mkdir(parents=True)
        nbformat.write(notebook, path)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "class")
    return tmp_path / "class"


def page(folder, student="anna1"):
    assert main(["feedback", str(folder)]) == 0
    return (folder / "feedback" / student / EXERCISE / f"{EXERCISE}.html").read_text("utf-8")


def test_feedback_has_ones_own_work_and_nobody_elses(folder):
    text = page(folder)
    assert "anna1 wrote" in text
    assert "bert22" not in text


def test_hidden_tests_are_not_in_feedback_nor_quoted_by_a_traceback(folder):
    text = page(folder)
    assert "HIDDEN" not in text
    assert "&#34;c&#34;" not in text
    assert "MARK SCHEME" not in text
    assert "CheckFailed: GS is odd" in text


def test_feedback_asks_for_nothing_and_runs_nothing_of_a_learner(folder):
    text = page(folder)
    assert "<script" not in text
    assert "http://example.org" not in text.replace("(a picture)", "")
    assert "&lt;Widget&gt;" in text
    assert "default-src 'none'" in text
    assert "10,004 characters more" in text
    assert "\x1b" not in text


def test_feedback_shows_marks_reasons_and_comments(folder):
    said = outcomes.read(folder)["anna1", EXERCISE]
    outcomes.append(folder, [said._replace(reasons={"test_words": "words came back in their old order"})])
    with sqlite3.connect(folder / "gradebook.db") as connection:
        connection.execute(
            "UPDATE comment SET manual_comment = 'Say more <here>' WHERE manual_comment IS NULL"
        )
    text = page(folder)
    assert "test_words: 1 of 1" in text
    assert "words came back in their old order" in text
    assert "Say more &lt;here&gt;" in text
    assert "counts: 5.5" in text


def test_feedback_of_a_failed_submission_says_why(folder):
    graded(folder, arrived(folder, "carl", "2026-12-01 12:00"), status="failed", reason="an empty file")
    [row] = feedback.rows(folder, "carl")
    [work] = feedback.work(folder, [row])
    assert "failed: an empty file" in feedback.make(folder, *work).text


def test_a_student_that_is_forgotten_is_nowhere_and_the_others_are_as_before(folder, capsys):
    page(folder)
    graded(folder, arrived(folder, "anna", "2026-12-01 12:00"), **FULL)  # an id within another
    before = {row.student: row for row in marks.rows(folder)}
    assert main(["forget", str(folder), "anna1", "--yes"]) == 0
    assert forget.mentions(folder, "anna1") == []
    assert [path for path in folder.rglob("*") if path.name == "anna1"] == []
    after = {row.student: row for row in marks.rows(folder)}
    assert after == {name: row for name, row in before.items() if name != "anna1"}
    with sqlite3.connect(folder / "gradebook.db") as connection:
        left = connection.execute("SELECT count(*) FROM grade").fetchone()[0]
    assert left == 2 * 4
    assert "1 submissions in the gradebook" in capsys.readouterr().out


def test_a_short_id_that_a_packed_notebook_spells_by_chance_is_not_left(folder):
    journal = folder / "journal-0123456789ab"
    journal.write_text('k {"student":"bert22","output":"mcdc%uu23=Y;anna1=Yd"}\n', "utf-8")
    assert main(["forget", str(folder), "anna1", "--yes"]) == 0
    journal.write_text('k {"student":"bert22","reason":{"as":"anna1"}}\n', "utf-8")
    assert forget.mentions(folder, "anna1") == [journal]


def test_forget_waits_for_a_yes(folder, capsys):
    assert main(["forget", str(folder), "anna1"]) == 4
    assert "Nothing was deleted" in capsys.readouterr().out
    assert main(["forget", str(folder), "nobody", "--yes"]) == 1
    assert (folder / "received" / "anna1").is_dir()


def states(folder):
    return {one.what: one.state for one in doctor.examine(folder) if "sandbox" not in one.what}


def test_a_class_in_order_has_nothing_amiss(folder):
    assert set(states(folder).values()) <= {"ok", "note"}


@pytest.mark.parametrize(
    "harm, said",
    [
        (lambda folder: folder.chmod(0o755), "is open to others"),
        (
            lambda folder: (folder / "source" / EXERCISE / f"{EXERCISE}.ipynb").write_text("{}"),
            "changed since",
        ),
        (lambda folder: (folder / "gradebook.db").write_bytes(b"x" * 5000), "damaged"),
        (lambda folder: shutil.rmtree(folder / "received" / "anna1"), "received files are gone"),
        (lambda folder: (folder / "deadlines.csv").write_text("a,b\n1,2\n"), "first line names the columns"),
    ],
    ids=["mode", "source", "gradebook", "received", "deadlines"],
)
def test_what_is_amiss_is_named(folder, harm, said):
    harm(folder)
    amiss = [what for what, state in states(folder).items() if state == "amiss"]
    assert any(said in what for what in amiss), amiss


@pytest.mark.parametrize(
    "lacking, states",
    [
        ((), {"ok"}),
        (("namespaces",), {"ok", "note"}),
        (("landlock",), {"ok", "amiss"}),
        (("limits", "landlock", "seccomp", "namespaces"), {"amiss"}),
    ],
    ids=["all", "container", "old kernel", "no sandbox"],
)
def test_a_layer_that_grading_can_do_without_is_nothing_amiss(folder, monkeypatch, lacking, states):
    names = ("namespaces", "landlock", "seccomp", "limits")
    found = [Layer(name, taken=name not in lacking, why="because") for name in names]
    monkeypatch.setattr("autograder.engine.layers", lambda: found)
    said = [one for one in doctor.examine(folder) if "sandbox" in one.what or "strangers" in one.what]
    assert {one.state for one in said} == states
    assert len({one.what for one in said}) == len(said)
    assert all(one.cure for one in said if one.state != "ok")


def test_the_command_line_is_there_for_learners_on_windows_which_lacks_unix_modules():
    program = """
import sys
sys.modules |= dict.fromkeys(("fcntl", "resource", "termios"))
import autograder.me
from autograder.__main__ import main
main(["grade", "--help"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "--me" in done.stdout, done.stderr


def test_a_python_without_the_course_s_packages_is_told_where_they_are():
    program = "import sys; sys.modules['platformdirs'] = None; import autograder.__main__"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "has no package platformdirs" in done.stderr
    assert "source .venv/bin/activate" in done.stderr


def test_the_hub_is_told_what_it_lacks(folder, tmp_path, capsys):
    exchange = tmp_path / "exchange"
    with (folder / "nbgrader_config.py").open("a") as file:
        file.write(f"c.Exchange.root = {str(exchange)!r}\n")
    assert main(["doctor", str(folder), "--hub", "--json"]) == 3
    found = {one["what"]: one["cure"] for one in json.loads(capsys.readouterr().out)}
    assert any("does not exist" in what and str(exchange) in cure for what, cure in found.items())
    assert any('course_id = "svmlib"' in cure for cure in found.values())
    exchange.mkdir()
    exchange.chmod(0o777)
    assert any(one.state == "ok" and "is everybody's" in one.what for one in doctor.examine_hub(folder))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples_that_parse(command, capsys):
    from autograder.__main__ import parser

    with pytest.raises(SystemExit):
        main([command, "--help"])
    said = capsys.readouterr().out
    lines = [line.strip() for line in said.splitlines() if line.strip().startswith("python -m autograder")]
    assert lines
    for line in lines:
        words = line.split("  ")[0].removeprefix("python -m autograder ").split(" > ")[0]
        parser().parse_args(shlex.split(words))


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "new"])
def test_every_command_says_how_to_make_a_class(command, tmp_path, capsys):
    more = {"collect": ["x"], "forget": ["s"]}.get(command, [])
    assert main([command, str(tmp_path / "none"), *more]) == 1
    assert "python -m autograder new" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_new_makes_a_class_once_and_says_what_is_next(tmp_path, capsys):
    folder = tmp_path / "spring"
    assert main(["new", str(folder), "--zone", "Europe/Berlin", "--late", "zero"]) == 0
    assert "python -m autograder roster" in capsys.readouterr().out
    assert release.facts(folder)["zone"] == "Europe/Berlin"
    assert deadlines.read(folder, [], []).lines == {}
    assert main(["new", str(folder)]) == 1
    assert main(["new", str(tmp_path / "other"), "--zone", "Berlin"]) == 1
