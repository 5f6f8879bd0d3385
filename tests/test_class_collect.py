"""Submissions out of the exchange, Canvas, Moodle and a folder: each file finds its student and exercise."""

import io
import json
import shutil
import zipfile
from collections import Counter

import pytest

import classes
from autograder import release
from autograder.__main__ import main
from autograder.classes import attempts, collect, layouts, roster
from classes import EXERCISE, utc, zipped

pytestmark = [
    pytest.mark.filterwarnings("default"),  # nbgrader's and sqlalchemy's own
    pytest.mark.xdist_group("tiny_class"),
]
JANE = roster.Student("jdoe1", "Jane", "Doe", "jane@example.org", canvas="101", moodle="55")
JOERG = roster.Student("jmueller", "Jörg", "Müller", "joerg@example.org", canvas="102", moodle="56")


@pytest.fixture
def folder(tmp_path_factory, tmp_path):
    folder = classes.copy(tmp_path_factory, tmp_path / "class")
    roster.write(folder, [JANE, JOERG])
    return folder


@pytest.fixture(scope="module")
def right(tmp_path_factory):
    return classes.handed_in("s01_right", tmp_path_factory.mktemp("right"))


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return classes.handed_in("s02_other_design", tmp_path_factory.mktemp("other"))


def taken(folder, place, **more):
    return {
        (entry.outcome, entry.student, entry.exercise) for entry in collect.collect(folder, place, **more)
    }


def exchange(tmp_path, right, other):
    place = tmp_path / "exchange"
    for name, data in (
        (f"jdoe1+{EXERCISE}+2026-12-01 20:00:00.250000 UTC+aBc_d-e", right),
        (f"jmueller+{EXERCISE}+2026-12-01 21:00:00.000000 UTC", other),
    ):
        inbound = place / "inbound" / name
        inbound.mkdir(parents=True)
        (inbound / f"{EXERCISE}.ipynb").write_bytes(data)
        (inbound / "timestamp.txt").write_text("2026-12-01 20:00:00.25 UTC")
    return place


def canvas(tmp_path, right, other):
    return zipped(
        tmp_path / "submissions.zip",
        {
            f"doejane_101_9001_{EXERCISE}.ipynb": right,
            f"mullerjorg_LATE_102_9002_{EXERCISE}-1.ipynb": other,
        },
    )


def moodle(tmp_path, right, other):
    return zipped(
        tmp_path / "moodle.zip",
        {
            f"Jane Doe_55_assignsubmission_file_/{EXERCISE}.ipynb": right,
            f"Jörg Müller_56_assignsubmission_file_/{EXERCISE}.ipynb": other,
        },
    )


def moodle_without_folders(tmp_path, right, other):
    return zipped(
        tmp_path / "moodle.zip",
        {
            f"Jane Doe_7_assignsubmission_file_{EXERCISE}.ipynb": right,
            f"Müller Jörg_8_assignsubmission_file_{EXERCISE}.ipynb": other,
        },
    )


def flat(tmp_path, right, other):
    place = tmp_path / "flat"
    (place / "jdoe1").mkdir(parents=True)
    (place / "jdoe1" / f"{EXERCISE}.ipynb").write_bytes(right)
    (place / f"jmueller_{EXERCISE}.ipynb").write_bytes(other)
    return place


@pytest.mark.parametrize("layout", [exchange, canvas, moodle, moodle_without_folders, flat])
def test_every_layout_is_told_from_its_names_and_finds_the_students(folder, tmp_path, right, other, layout):
    place = layout(tmp_path, right, other)
    assert (
        layouts.kind_of(place / "inbound" if layout is exchange else place) == layout.__name__.split("_")[0]
    )
    assert {(student, exercise) for _, student, exercise in taken(folder, place)} == {
        ("jdoe1", EXERCISE),
        ("jmueller", EXERCISE),
    }
    stored = {one.student: attempts.load(folder, one) for one in attempts.read(folder)}
    assert stored == {"jdoe1": right, "jmueller": other}


def test_an_exchange_is_found_by_its_folder_a_course_s_in_it_or_its_inbound(folder, tmp_path, right, other):
    (tmp_path / "srv").mkdir()
    course = exchange(tmp_path, right, other).rename(tmp_path / "srv" / "svmlib")
    for place in (course.parent, course, course / "inbound"):
        assert {one.who["student"] for one in layouts.read(place)} == {"jdoe1", "jmueller"}
    (course.parent / "other" / "inbound").mkdir(parents=True)
    with pytest.raises(release.ReleaseError, match=r"courses' exchange \(other, svmlib\)"):
        list(layouts.read(course.parent))


def test_the_exchange_tells_exact_times_and_canvas_only_late_or_not(folder, tmp_path, right, other):
    taken(folder, exchange(tmp_path, right, other))
    assert [(one.when, one.exact) for one in attempts.read(folder)] == [
        (utc("2026-12-01 20:00:00.250"), True),
        (utc("2026-12-01 21:00"), True),
    ]
    shutil.rmtree(folder / "received")
    taken(folder, canvas(tmp_path, right, other))
    assert [(one.exact, one.late) for one in attempts.read(folder)] == [(False, False), (False, True)]


def test_a_moodle_worksheet_gives_the_exact_times(folder, tmp_path, right, other):
    sheet = tmp_path / "Grades.csv"
    sheet.write_text(
        "Identifier,Full name,Email address,Last modified (submission)\n"
        'Participant 7,Jane Doe,jane@example.org,"Tuesday, 1 December 2026, 8:00 PM"\n'
        "Participant 8,Jörg Müller,joerg@example.org,-\n",
        "utf-8",
    )
    place = moodle_without_folders(tmp_path, right, other)
    assert main(["collect", str(folder), str(place), "--worksheet", str(sheet)]) == 0
    jane, joerg = attempts.read(folder)
    assert (jane.when, jane.exact) == (utc("2026-12-01 19:00"), True)  # 8 PM in Berlin
    assert not joerg.exact
    assert roster.read(folder)["jdoe1"].moodle == "7"


def test_renamed_duplicate_and_unknown_files_are_listed_and_kept(folder, tmp_path, right, other, capsys):
    place = zipped(
        tmp_path / "odd.zip",
        {
            "doejane_101_1_Untitled (3).ipynb": right,
            f"mullerjorg_102_2_{EXERCISE}.ipynb": right,
            f"someone_777_3_{EXERCISE}.ipynb": other,
            "doejane_101_4_shopping.ipynb": b'{"nbformat": 4, "cells": []}',
            "doejane_101_5_essay.pdf": b"%PDF-1.7",
        },
    )
    assert main(["collect", str(folder), str(place), "--json"]) == 3
    entries = json.loads(capsys.readouterr().out)
    assert {(one["outcome"], one["student"]): one["note"] for one in entries} == {
        ("renamed", "jdoe1"): "it was Untitled (3).ipynb",
        ("duplicate", "jmueller"): "the same file as jdoe1's",
        ("unknown student", ""): "",
        ("unknown exercise", "jdoe1"): "",
        ("no notebook", ""): "",
    }
    lost = list((folder / "unknown").iterdir())
    assert {path.read_bytes() for path in lost} == {other, b'{"nbformat": 4, "cells": []}'}
    [his] = [path for path in lost if path.read_bytes() == other]
    command = ["collect", str(folder), str(his), "--student", "jmueller", "--when", "2026-12-01 20:15"]
    assert taken(folder, folder / "unknown")
    assert sorted((folder / "unknown").iterdir()) == sorted(lost)
    assert main(command) == 0
    assert not his.exists()
    assert ("jmueller", utc("2026-12-01 19:15"), True) in [
        (one.student, one.when, one.exact) for one in attempts.read(folder)
    ]


def test_an_exercise_that_the_class_has_not_released_is_none_of_its_own(folder, tmp_path, right):
    later = json.loads(right)
    next(cell for cell in later["cells"] if cell["cell_type"] == "code")["source"] = 'check.begin("77_later")'
    place = zipped(tmp_path / "a.zip", {"doejane_101_1_x.ipynb": json.dumps(later).encode()})
    for _ in range(2):
        assert taken(folder, place) == {("unknown exercise", "jdoe1", "")}
    [kept] = (folder / "unknown").iterdir()
    assert kept.name.endswith("=jdoe1=x.ipynb")
    assert main(["forget", str(folder), "jdoe1", "--yes"]) == 0
    assert not kept.exists()


def test_a_file_whose_exercise_is_known_later_is_kept_as_unknown_no_more(
    folder, tmp_path, right, monkeypatch
):
    place = zipped(tmp_path / "a.zip", {f"doejane_101_1_{EXERCISE}.ipynb": right})
    with monkeypatch.context() as before:
        before.setattr(collect, "exercise_of", lambda *_: "")
        assert taken(folder, place) == {("unknown exercise", "jdoe1", "")}
    assert taken(folder, place) == {("taken", "jdoe1", EXERCISE)}
    assert not list((folder / "unknown").iterdir())


def test_what_is_here_already_is_not_taken_twice(folder, tmp_path, right, other):
    place = canvas(tmp_path, right, other)
    taken(folder, place)
    before = attempts.read(folder)
    assert Counter(outcome for outcome, _, _ in taken(folder, place)) == {"again": 2}
    assert attempts.read(folder) == before


def test_a_file_that_was_cut_off_is_known_by_what_is_left(folder, tmp_path, right):
    place = zipped(tmp_path / "a.zip", {"doejane_101_1_x.ipynb": right[: len(right) * 3 // 4]})
    assert taken(folder, place) == {("renamed", "jdoe1", EXERCISE)}


def test_a_zip_that_a_learner_handed_in_is_opened(folder, tmp_path, right):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr(f"work/{EXERCISE}.ipynb", right)
        archive.writestr("__MACOSX/work/._x.ipynb", b"junk")
    place = zipped(tmp_path / "a.zip", {"doejane_101_1_work.zip": inner.getvalue()})
    assert taken(folder, place) == {("taken", "jdoe1", EXERCISE)}


def test_nothing_is_written_outside_the_class(folder, tmp_path, right):
    evil = {"../../jdoe1/../../evil.ipynb": right, f"/etc/jdoe1_{EXERCISE}.ipynb": right}
    before = {path for path in tmp_path.rglob("*") if folder not in path.parents}
    place = zipped(tmp_path / "evil.zip", evil)
    taken(folder, place, kind="flat")
    after = {path for path in tmp_path.rglob("*") if folder not in path.parents}
    assert after - before == {place}


def test_a_member_whose_name_leads_out_of_the_archive_is_listed_as_refused(folder, tmp_path, right, capsys):
    names = ("../jdoe1/evil.ipynb", "/etc/evil.ipynb", "..\\evil.ipynb", "c:/evil.ipynb", "work/..")
    inner = zipped(tmp_path / "inner.zip", {"../inner.ipynb": right})
    files = dict.fromkeys(names, right) | {"jdoe1/work.zip": inner.read_bytes()}
    fine = {f"jdoe1/{EXERCISE}.ipynb": right, "jmueller/.ipynb_checkpoints/x.ipynb": b"hidden"}
    place = zipped(tmp_path / "a.zip", files | fine)
    assert main(["collect", str(folder), str(place), "--json"]) == 3
    entries = json.loads(capsys.readouterr().out)
    refused = {one["origin"]: one["note"] for one in entries if one["outcome"] == "refused"}
    assert refused == dict.fromkeys(
        [f"a.zip:{name}" for name in (*names, "jdoe1/work.zip/../inner.ipynb")],
        "its name leads out of the archive",
    )
    assert [(one.student, one.exercise) for one in attempts.read(folder)] == [("jdoe1", EXERCISE)]
    assert not (folder / "unknown").exists()


@pytest.mark.parametrize("command", ["collect", "grade", "marks", "feedback", "report", "export"])
def test_a_mistake_in_the_deadlines_is_told_by_line_and_column_before_anything_is_done(
    folder, tmp_path, right, other, capsys, command
):
    taken(folder, flat(tmp_path, right, other))
    (folder / "deadlines.csv").write_text(
        f"exercise,student,due,excused,zone\n{EXERCISE},all,2026-12-01 23:59,,Europe/Bern\n", "utf-8"
    )
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert main([command, str(folder), *[str(tmp_path / "flat")] * (command == "collect")]) == 1
    assert capsys.readouterr().err == (
        f'{folder}/deadlines.csv, line 2, zone: "Europe/Bern" is no time zone: a name such as Europe/Berlin '
        "or UTC\n"
    )
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_two_students_of_one_name_are_nobody(folder):
    twins = [JANE, JANE._replace(student="jdoe2", canvas="103")]
    assert collect.by_name("Jane Doe", twins) == ""
    assert collect.by_name("Müller, Jörg", [JANE, JOERG]) == "jmueller"


def test_a_class_with_nothing_released_says_what_to_type(tmp_path, capsys):
    folder = release.new(tmp_path / "empty")
    with pytest.raises(release.ReleaseError, match="python -m autograder release"):
        list(collect.collect(folder, tmp_path))
    assert main(["grade", str(folder)]) == 1
    assert f"python -m autograder release {folder}" in capsys.readouterr().err
