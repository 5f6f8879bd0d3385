"""Lists of students, as Canvas and Moodle export them, become students.csv."""

import pytest

from autograder import release
from autograder.__main__ import main
from autograder.classes import roster

CANVAS = """\
Student,ID,SIS User ID,SIS Login ID,Section,01 Legacy path (4711),Current Score
    Points Possible,,,,,18,(read only)
"Doe, Jane",101,U-1,jdoe1,SVM-A,,
"Müller, Jörg",102,U-2,jmueller,SVM-B,,
"Student, Test",999,,,SVM-A,,
"""
PARTICIPANTS = """\
First name,Last name,Username,ID number,Email address,Groups
Jane,Doe,jdoe1,2001,jane@example.org,A
Jörg,Müller,jmueller,2002,joerg@example.org,B
"""
WORKSHEET = """\
Identifier,Full name,Email address,Status,Grade,Maximum grade,Last modified (submission)
Participant 55,Jane Doe,jane@example.org,Submitted,,18.00,"Tuesday, 1 December 2026, 8:00 PM"
"""


@pytest.fixture
def folder(tmp_path):
    return release.new(tmp_path / "class")


def listed(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "list.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("text", [CANVAS, PARTICIPANTS, PARTICIPANTS.replace(",", ";")])
def test_a_list_of_any_layout_encoding_and_separator_gives_the_same_students(tmp_path, text, encoding):
    _, students = roster.import_list(listed(tmp_path, text, encoding))
    assert [(one.student, one.first, one.last) for one in students] == [
        ("jdoe1", "Jane", "Doe"),
        ("jmueller", "Jörg", "Müller"),
    ]


def test_canvas_and_moodle_keep_their_own_ids(tmp_path, folder):
    roster.merge(folder, roster.import_list(listed(tmp_path, CANVAS))[1])
    changes = roster.merge(folder, roster.import_list(listed(tmp_path, PARTICIPANTS))[1])
    jane = roster.read(folder)["jdoe1"]
    assert (jane.canvas, jane.sis, jane.login, jane.number, jane.email) == (
        "101",
        "U-1",
        "jdoe1",
        "2001",
        "jane@example.org",
    )
    assert changes == ([], ["jdoe1", "jmueller"], [])


def test_a_list_without_the_column_of_the_ids_finds_the_students_by_address_or_number(tmp_path, folder):
    roster.merge(folder, roster.import_list(listed(tmp_path, PARTICIPANTS))[1])
    changes = roster.merge(folder, roster.import_list(listed(tmp_path, WORKSHEET))[1])
    assert changes == ([], ["jdoe1"], ["jmueller"])
    assert roster.read(folder)["jdoe1"].moodle == "55"
    by_number = "First name,Last name,ID number,Email address\nJ,Müller,2002,new@example.org\n"
    assert roster.merge(folder, roster.import_list(listed(tmp_path, by_number))[1]).changed == ["jmueller"]


def test_a_list_that_would_put_the_same_people_in_twice_is_refused(tmp_path, folder, capsys):
    roster.merge(folder, roster.import_list(listed(tmp_path, CANVAS))[1])
    assert main(["roster", str(folder), str(listed(tmp_path, WORKSHEET))]) == 1
    said = capsys.readouterr().err
    assert "Jane Doe is jdoe1 there and jane@example.org here. Nothing was taken." in said
    assert set(roster.read(folder)) == {"jdoe1", "jmueller"}


def test_two_students_of_one_name_are_two(tmp_path, folder):
    roster.merge(folder, roster.import_list(listed(tmp_path, CANVAS))[1])
    other = CANVAS + '"Doe, Jane",103,U-3,jdoe2,SVM-A,,\n'
    assert roster.merge(folder, roster.import_list(listed(tmp_path, other))[1]).added == ["jdoe2"]


def test_a_grading_worksheet_knows_moodles_number(tmp_path):
    kind, [jane] = roster.import_list(listed(tmp_path, WORKSHEET))
    assert (kind, jane.moodle, jane.first, jane.last) == ("Moodle grading worksheet", "55", "Jane", "Doe")
    assert jane.student == "jane@example.org"


def test_who_is_no_longer_listed_is_kept_and_named(tmp_path, folder):
    roster.merge(folder, roster.import_list(listed(tmp_path, CANVAS))[1])
    shorter = "".join(line for line in CANVAS.splitlines(keepends=True) if "Doe" not in line)
    assert roster.merge(folder, roster.import_list(listed(tmp_path, shorter))[1]).gone == ["jdoe1"]
    assert roster.read(folder)["jdoe1"].listed == "no"


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("", "it is empty"),
        ("\0\1\2", "it is binary"),
        ("Vorname,Nachname\nJane,Doe\n", "none of the lists known here. Its columns: Nachname, Vorname"),
        ("student\n../../etc\n", "cannot be an id"),
        ("student\ns1\ns1\n", "these ids twice: s1"),
        ("student,student\ns1,s2\n", "two columns named student"),
    ],
)
def test_a_list_with_a_mistake_is_refused_with_its_name(tmp_path, text, complaint):
    with pytest.raises(release.ReleaseError, match=complaint) as caught:
        roster.import_list(listed(tmp_path, text))
    assert "list.csv" in str(caught.value)


def test_the_command_shows_what_a_list_changed(tmp_path, folder, capsys):
    assert main(["roster", str(folder), str(listed(tmp_path, CANVAS))]) == 0
    assert "a Canvas gradebook with 2 students.\n2 added: jdoe1, jmueller" in capsys.readouterr().out
    assert main(["roster", str(folder)]) == 0
    assert "Jörg Müller" in capsys.readouterr().out


def test_pseudonyms_tell_nothing_are_different_and_stay(folder):
    students = [f"s{number}" for number in range(3000)]
    names = roster.pseudonyms(folder, students)
    assert len(set(names.values())) == 3000
    assert roster.pseudonyms(folder, students) == names
    assert not any(student in names[student] for student in students)
