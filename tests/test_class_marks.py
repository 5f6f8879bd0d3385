"""What a class scored: who is final, late, excused, missing; what Canvas and Moodle take back."""

import csv
import io
import json
import re
import shutil
import sqlite3

import nbformat
import pytest

import classes
from autograder import release
from autograder.__main__ import main
from autograder.classes import attempts, export, gradebook, marks, outcomes, pages, roster
from autograder.report import Cell, Row
from classes import EXERCISE, FULL, arrived, graded

pytestmark = [
    pytest.mark.filterwarnings("default"),  # nbgrader's and sqlalchemy's own
    pytest.mark.xdist_group("tiny_class"),
]
STUDENTS = [
    roster.Student(name, name.title(), "Doe", f"{name}@example.org", "A", name, f"U-{name}", str(number))
    for number, name in enumerate(("final", "waits", "failed", "missing", "excused", "late", "extended"), 101)
]
TITLE = {EXERCISE: "1 Swap"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A class with a student of every kind; due on 1 December, with a zero for what is late."""
    folder = classes.copy(tmp_path_factory, tmp_path_factory.mktemp("marks") / "class")
    config = folder / "nbgrader_config.py"
    config.write_text(
        config.read_text("utf-8").replace("penalty_method = 'none'", "penalty_method = 'zero'"), "utf-8"
    )
    roster.write(folder, STUDENTS)
    (folder / "deadlines.csv").write_text(
        "exercise,student,due,excused,zone\n"
        f"{EXERCISE},all,2026-12-01 23:59,,UTC\n"
        f"{EXERCISE},extended,2026-12-05 23:59,,UTC\n"
        f"{EXERCISE},excused,,yes,\n",
        "utf-8",
    )
    graded(folder, arrived(folder, "final", "2026-12-01 12:00"), **FULL)
    graded(folder, arrived(folder, "waits", "2026-12-01 12:00"), **(FULL | {"why": None}), hands=False)
    graded(folder, arrived(folder, "failed", "2026-12-01 12:00"), status="failed", reason="an empty file")
    graded(folder, arrived(folder, "excused", "2026-12-01 12:00"), **FULL)
    graded(folder, arrived(folder, "late", "2026-12-03 12:00"), **FULL)
    graded(folder, arrived(folder, "extended", "2026-12-03 12:00"), **FULL)
    return folder


@pytest.fixture(scope="module")
def rows(whole):
    return {row.student: row for row in marks.rows(whole)}


def test_each_student_has_a_status_and_only_what_is_final_a_number(rows):
    assert {name: (row.status, row.final) for name, row in rows.items()} == {
        "final": ("final", 5.5),
        "waits": ("awaiting", None),
        "failed": ("failed", None),
        "missing": ("missing", None),
        "excused": ("excused", None),
        "late": ("final", 0),
        "extended": ("final", 5.5),
    }


def test_raw_penalty_and_final_are_three_columns(rows):
    record = rows["late"].record()
    assert (record["raw"], record["penalty"], record["final"]) == (5.5, 5.5, 0)
    assert rows["late"].remarks == ("late by 1 d 12 h",)
    assert rows["extended"].record()["penalty"] == 0


PLUGINS = {
    "hourly": "return 0.5 * total_seconds_late / 3600",
    "all_of_it_twice": "return 2 * score",
    "a_gift": "return -1.0",
    "nothing": "return None",
}


@pytest.mark.parametrize("plugin", ["none", "zero", *PLUGINS])
def test_the_penalty_is_what_nbgraders_own_step_takes(whole, tmp_path, monkeypatch, plugin):
    """On the same gradebook, with the same dates."""
    from nbgrader.api import Gradebook
    from nbgrader.preprocessors import AssignLatePenalties

    folder = tmp_path / "class"
    shutil.copytree(whole, folder)
    config = folder / "nbgrader_config.py"
    said = config.read_text("utf-8").replace(
        repr("zero"), repr(plugin if plugin in ("none", "zero") else "none")
    )
    if plugin in PLUGINS:
        (tmp_path / f"plugin_{plugin}.py").write_text(
            "from nbgrader.plugins import LateSubmissionPlugin\n"
            "class Ours(LateSubmissionPlugin):\n"
            "    def late_submission_penalty(self, student_id, score, total_seconds_late):\n"
            f"        {PLUGINS[plugin]}\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        said += f"c.AssignLatePenalties.plugin_class = 'plugin_{plugin}.Ours'\n"
    config.write_text(said, "utf-8")

    rows = {row.student: row for row in marks.rows(folder)}
    marks.write_dates(folder)
    ours = nbgraders_columns(folder)
    step = AssignLatePenalties(config=release.config(folder))
    for student in ("final", "late", "extended"):
        where = {"notebook": EXERCISE, "assignment": EXERCISE, "student": student}
        step.preprocess(nbformat.v4.new_notebook(), {"nbgrader": where | {"db_url": gradebook.url(folder)}})
    assert nbgraders_columns(folder) == ours
    with Gradebook(gradebook.url(folder), "svmlib") as book:
        for student in ("final", "late", "extended"):
            theirs = book.find_submission(EXERCISE, student)
            assert rows[student].raw == theirs.score
            assert rows[student].penalty == theirs.late_submission_penalty
            assert rows[student].final == max(0.0, theirs.score - theirs.late_submission_penalty)


def nbgraders_columns(folder):
    with sqlite3.connect(folder / "gradebook.db") as connection:
        return connection.execute(
            "SELECT student_id, timestamp, extension, late_submission_penalty FROM submitted_assignment "
            "JOIN submitted_notebook ON submitted_notebook.assignment_id = submitted_assignment.id ORDER BY 1"
        ).fetchall()


def table(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_canvas_gets_its_own_columns_and_blanks_for_what_is_not_final(rows):
    made = export.export(list(rows.values()), {one.student: one for one in STUDENTS}, TITLE, to="canvas")
    first, *lines = table(made.text)
    assert list(first) == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "1 Swap"]
    assert (first["Student"], first["1 Swap"]) == ("    Points Possible", "5")
    assert {line["SIS Login ID"]: line["1 Swap"] for line in lines} == {
        "final": "5.5",
        "waits": "",
        "failed": "",
        "missing": "",
        "excused": "EX",
        "late": "0",
        "extended": "5.5",
    }
    assert lines[0]["ID"] == next(one.canvas for one in STUDENTS if one.student == "excused")


def test_canvas_finds_its_assignment_by_the_name_with_its_id(rows, tmp_path):
    exported = tmp_path / "grades.csv"
    exported.write_text(
        "Student,ID,SIS User ID,SIS Login ID,Section,Essay (1),1 Swap (4711)\n,,,,,,\n", "utf-8"
    )
    exported.write_text(exported.read_text("utf-8").replace(",,,,,,", "Doe,1,,,,3,4"), "utf-8")
    made = export.export(list(rows.values()), {}, TITLE, to="canvas", gradebook=exported)
    assert made.text.splitlines()[0].endswith(",Section,1 Swap (4711)")
    assert made.left_out == sorted(rows)


def test_the_file_of_another_lms_is_told_as_that(rows, tmp_path):
    theirs = tmp_path / "theirs.csv"
    theirs.write_text("Identifier,Full name,Grade\nParticipant 7,Ada,\n", "utf-8")
    for to in ("canvas", "moodle"):
        with pytest.raises(release.ReleaseError, match=f"--gradebook is not {to.title()}'s"):
            export.export(list(rows.values()), {}, TITLE, to=to, gradebook=theirs)


def test_an_exercise_that_nobody_has_begun_gets_no_column(rows):
    later = [Row(name, "later", {}, state="missing") for name in rows]
    for to in ("canvas", "moodle"):
        made = export.export([*rows.values(), *later], {}, TITLE | {"later": "2 Later"}, to=to)
        assert "1 Swap" in made.text
        assert "Later" not in made.text


def test_a_column_that_two_assignments_could_be_is_refused(rows, tmp_path):
    exported = tmp_path / "grades.csv"
    exported.write_text("Student,ID,Section,1 Swap (1),1 Swap (2)\nDoe,1,,3,4\n", "utf-8")
    with pytest.raises(release.ReleaseError, match="could be each of the columns"):
        export.export(list(rows.values()), {}, TITLE, to="canvas", gradebook=exported)


def test_moodle_gets_its_own_columns(rows):
    made = export.export(list(rows.values()), {one.student: one for one in STUDENTS}, TITLE, to="moodle")
    lines = table(made.text)
    column = "Assignment: 1 Swap (Real)"
    assert list(lines[0]) == ["First name", "Last name", "ID number", "Email address", column]
    given = {line["Email address"].split("@")[0]: line[column] for line in lines}
    assert given == dict.fromkeys(rows, "") | {"final": "5.5", "extended": "5.5", "late": "0"}


def test_a_moodle_worksheet_comes_back_with_its_own_lines_and_the_final_grades_in(rows, tmp_path):
    sheet = tmp_path / "Grades.csv"
    sheet.write_text(
        "Identifier,Full name,Email address,Status,Grade,Maximum grade\n"
        "Participant 9,Final Doe,final@example.org,Submitted,,6.00\n"
        "Participant 8,Waits Doe,waits@example.org,Submitted,1.00,6.00\n",
        "utf-8",
    )
    by_id = {one.student: one for one in STUDENTS}
    made = export.export(list(rows.values()), by_id, TITLE, to="worksheet", gradebook=sheet)
    assert [(line["Identifier"], line["Grade"]) for line in table(made.text)] == [
        ("Participant 9", "5.5"),
        ("Participant 8", "1.00"),  # not final: left as it was
    ]
    assert "late" in made.left_out
    sheet.write_text(sheet.read_text("utf-8").replace(",6.00", ",4.00"), "utf-8")
    with pytest.raises(release.ReleaseError, match=r"gives at most 4.00, 01_swap \d"):
        export.export(list(rows.values()), by_id, TITLE, to="worksheet", gradebook=sheet)


def test_csv_and_json_say_the_same(whole, capsys):
    assert main(["export", str(whole), "--to", "csv"]) == 0
    lines = {line["student"]: line for line in table(capsys.readouterr().out)}
    assert main(["export", str(whole), "--to", "json"]) == 0
    for record in json.loads(capsys.readouterr().out):
        line = lines[record["student"]]
        assert line["status"] == record["status"]
        assert line["final"] == ("" if record["final"] is None else f"{record['final']:g}")
    assert lines["missing"]["raw"] == lines["failed"]["automatic"] == ""


def test_a_formula_in_a_name_stays_text():
    row = Row("s1", EXERCISE, {"test_swap": Cell(2, 2, False)})
    evil = roster.Student("s1", "x", '=HYPERLINK("http://example.org")', "s1@example.org", canvas="1")
    for to in ("canvas", "moodle"):
        text = export.export([row], {"s1": evil}, TITLE, to=to).text
        assert not re.search(r'(^|,)"?=', text, re.MULTILINE)


def test_a_new_attempt_makes_a_mark_unknown_until_it_is_graded(whole, tmp_path):
    folder = tmp_path / "class"
    shutil.copytree(whole, folder)
    arrived(folder, "final", "2026-12-01 13:00")
    [row] = [row for row in marks.rows(folder) if row.student == "final"]
    assert (row.status, row.final) == ("ungraded", None)


def test_an_attempt_that_tried_the_judge_waits_for_a_hand(whole, tmp_path):
    folder = tmp_path / "class"
    shutil.copytree(whole, folder)
    [attempt] = [one for one in attempts.read(folder) if one.student == "waits"]
    before = outcomes.read(folder)["waits", EXERCISE]
    said = before._replace(status="tampered", reason="it read the judge's memory")
    outcomes.append(folder, [said])
    [row] = [row for row in marks.rows(folder) if row.student == "waits"]
    assert (row.status, row.final) == ("tampered", None)
    with sqlite3.connect(folder / "gradebook.db") as connection:
        connection.execute(
            "UPDATE grade SET manual_score = 0, needs_manual_grade = 0 WHERE notebook_id IN (SELECT n.id "
            "FROM submitted_notebook n JOIN submitted_assignment a ON a.id = n.assignment_id "
            "WHERE a.student_id = 'waits')"
        )
    [row] = [row for row in marks.rows(folder) if row.student == "waits"]
    assert (row.status, row.final) == ("final", 0)
    assert attempt.digest == said.digest


def test_a_line_of_outcomes_that_was_cut_off_is_ignored_and_does_no_harm_to_the_next(whole, tmp_path):
    one = outcomes.Outcome("a", EXERCISE, "d", "graded")
    outcomes.append(tmp_path, [one])
    with (tmp_path / outcomes.NAME).open("a") as file:
        file.write('{"student": "b", "exer')
    outcomes.append(tmp_path, [one._replace(student="c")])
    assert sorted(outcomes.read(tmp_path)) == [("a", EXERCISE), ("c", EXERCISE)]


@pytest.mark.parametrize(
    "damage, cure",
    [
        (lambda path: path.write_bytes(b"not a database at all" * 100), "Move the file away and grade again"),
        (lambda path: path.unlink(), "no gradebook is there yet"),
    ],
    ids=["damaged", "gone"],
)
def test_a_gradebook_that_cannot_be_read_says_what_to_do(whole, tmp_path, capsys, damage, cure):
    folder = tmp_path / "class"
    shutil.copytree(whole, folder)
    damage(folder / "gradebook.db")
    assert main(["marks", str(folder)]) == 1
    assert cure in capsys.readouterr().err


def test_a_locked_gradebook_says_who_to_look_for(whole, tmp_path, monkeypatch):
    folder = tmp_path / "class"
    shutil.copytree(whole, folder)
    monkeypatch.setattr(gradebook, "PATIENCE", 0.1)
    blocker = sqlite3.connect(folder / "gradebook.db", isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(release.ReleaseError, match="Close it"):
            marks.write_dates(folder)
    finally:
        blocker.close()
    marks.write_dates(folder)
    assert {row[0]: row[3] for row in nbgraders_columns(folder)}["late"] == 5.5


def test_a_password_is_in_no_message():
    with pytest.raises(release.ReleaseError) as caught:
        gradebook.check("postgresql+psycopg://teacher:geheim@127.0.0.1:1/none")
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    "words, said",
    [
        (["marks", "--student", "waist"], 'nobody in the class is "waist"; is it waits?'),
        (["feedback", "--student", "waist"], 'nobody in the class is "waist"; is it waits?'),
        (["marks", "--exercise", "swap"], f"the class has no exercise swap: {EXERCISE}"),
        (["export", "--exercise", "swap"], f"the class has no exercise swap: {EXERCISE}"),
        (["export", "--file", "none/a.csv"], "there is no folder none"),
        (["report", "--file", "none/a.html"], "there is no folder none"),
        (["marks", "--html", "."], "is a folder: name the file"),
        (["grade", "--csv", "none/a.csv"], "there is no folder none"),
    ],
    ids=lambda one: " ".join(one[:2]) if isinstance(one, list) else "",
)
def test_a_name_that_is_wrong_is_one_line(whole, words, said, capsys):
    assert main([words[0], str(whole), *words[1:]]) == 1
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


def test_the_terminal_shows_a_page_at_a_time(whole, capsys):
    assert main(["marks", str(whole), "--status", "final"]) == 0
    said = capsys.readouterr().out
    assert "3 marks: 3 final. Page 1 of 1." in said
    assert "-5.5 late *" in said
    assert f"\n* late, {EXERCISE}: late by 1 d" in said


def test_ten_thousand_marks_are_one_small_page():
    cells = {"test_swap": Cell(2, 2, False), "why": Cell(2, None, True)}
    rows = [Row(f"s{number:05}", EXERCISE, cells, "", ("</script><b>",)) for number in range(10_000)]
    page = pages.marks(rows)
    assert len(page) < 1_500_000
    assert "</script><b>" not in page
    assert page.count("<tr>") == 1
