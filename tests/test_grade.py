"""A class graded: a tiny one, with every kind of submission that goes wrong."""

import csv
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from autograder import me, notebooks, release, report, sample, submissions
from autograder.__main__ import main
from autograder.grade import grade
from autograder.report import Cell, Row

TINY = Path(__file__).parent / "tiny"
SCRIPTS = notebooks.scripts(TINY / "solutions")
SAMPLES = sample.read_all(TINY / "sample_class")
pytestmark = [
    pytest.mark.filterwarnings("default"),  # nbgrader's and sqlalchemy's own
    pytest.mark.xdist_group("tiny_class"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("classes") / "tiny"


@pytest.fixture(scope="module")
def rows(folder):
    graded = grade(folder, scripts=SCRIPTS, samples=TINY / "sample_class")
    return {row.student: row for row in graded}


@pytest.fixture(scope="module")
def given():
    return nbformat.reads(notebooks.exercise(SCRIPTS[0]), as_version=4)


@pytest.mark.parametrize("one", SAMPLES, ids=lambda one: one.student)
def test_every_submission_scores_what_its_file_says(rows, given, one):
    row = rows[one.student]
    assert one.says.get("failed", "") in row.reason
    assert bool(row.reason) == ("failed" in one.says), row.reason
    assert one.says.get("remark", "") in "; ".join(row.remarks)
    if not row.reason:
        assert {name: cell.score for name, cell in row.cells.items()} == sample.expected(one, given)


def test_nbgrader_releases_the_same_bytes(rows, folder):
    made = folder / "release" / "01_swap" / "01_swap.ipynb"
    assert made.read_text("utf-8") == notebooks.exercise(SCRIPTS[0])


def test_the_rubric_is_in_what_formgrader_shows(rows, folder):
    shown = (folder / "autograded" / "s01_right" / "01_swap" / "01_swap.ipynb").read_text("utf-8")
    assert "1 point: it says what is exchanged" in shown


def test_a_failed_submission_leaves_nothing_half_made(rows, folder):
    for row in rows.values():
        assert (folder / "autograded" / row.student / "01_swap").exists() == (not row.reason)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_the_class_is_its_owners_alone(rows, folder):
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "seed").stat().st_mode) == 0o600


def test_what_is_graded_is_kept_and_hand_marks_count(rows, folder):
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}", "svmlib") as gradebook:
        mark = gradebook.find_grade("why", "01_swap", "01_swap", "s01_right")
        mark.manual_score, mark.needs_manual_grade = 1.5, False
        gradebook.db.commit()
    kept = folder / "autograded" / "s01_right" / "01_swap" / "01_swap.ipynb"
    before = kept.stat().st_mtime_ns

    again = {row.student: row for row in grade(folder, scripts=SCRIPTS, samples=TINY / "sample_class")}

    assert kept.stat().st_mtime_ns == before
    assert again["s01_right"].status == "final"
    assert again["s01_right"].record()["final"] == 3 + 1.5 + 0.5
    assert {name: row.reason for name, row in again.items()} == {n: row.reason for n, row in rows.items()}


def test_a_class_is_graded_with_what_was_released_whatever_the_course_becomes(tmp_path):
    script = tmp_path / "solutions" / "01_swap.py"
    script.parent.mkdir()
    shutil.copy(SCRIPTS[0], script)
    inbox = tmp_path / "inbox" / "s01" / "01_swap"
    inbox.mkdir(parents=True)
    (inbox / "01_swap.ipynb").write_text(notebooks.exercise(script), encoding="utf-8")
    real = tmp_path / "real"

    [row] = grade(real, tmp_path / "inbox", scripts=[script])
    assert str(row) == "0/5"

    script.write_text(script.read_text("utf-8").replace("points=1", "points=3"), encoding="utf-8")
    [row] = grade(real, scripts=[script])
    assert str(row) == "0/5"
    assert release.differences(real, [script]) == ["01_swap"]
    with pytest.raises(release.ReleaseError, match="its source has changed since"):
        release.release(real, [script])

    (real / "frozen" / "svmlib" / "check.py").write_text("SLACK = 1000")
    with pytest.raises(release.ReleaseError, match="changed since the release: frozen/svmlib"):
        grade(real, scripts=[script])


def test_an_exercises_seed_is_its_own(rows, folder):
    seeds = {release.seed(folder), release.seed(folder, "01_swap"), release.seed(folder, "02_other")}
    assert len(seeds) == 3
    assert all(0 <= int(seed) < 2**63 for seed in seeds)
    assert release.environment(folder, "01_swap")["SVMLIB_SEED"] == release.seed(folder, "01_swap")


def test_kernels_import_the_library_that_was_frozen(rows, folder):
    probe = [sys.executable, "-c", "import svmlib; print(svmlib.__file__)"]
    found = subprocess.run(
        probe,
        env=os.environ | release.environment(folder, "01_swap"),
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(found.stdout.strip()).is_relative_to(folder / "frozen")


def test_a_learner_gets_the_marks_that_the_class_would_give(rows, tmp_path):
    one = next(one for one in SAMPLES if one.student == "s04_hard_coded")
    sample.hand_in(one, tmp_path, SCRIPTS[0])
    mine = me.grade(SCRIPTS[0], tmp_path / one.student / one.exercise)
    assert {n: c.score for n, c in mine.row.cells.items()} == {
        n: c.score for n, c in rows[one.student].cells.items()
    }
    said = me.text(mine)
    assert "test_swap: 0 of 2\n      1, 2 came back as 2, 1" in said
    assert "test_words: 0 of 1" in said
    assert "One value has nothing to be exchanged with." in said
    assert "1 point: it says what is exchanged" in said


def test_a_learner_is_told_what_is_missing(tmp_path):
    assert "there is no copy in work/" in me.text(me.grade(SCRIPTS[0], tmp_path))
    (tmp_path / "01_swap.ipynb").write_text(notebooks.exercise(SCRIPTS[0]), encoding="utf-8")
    said = me.text(me.grade(SCRIPTS[0], tmp_path))
    assert "not begun: swap, why" in said
    assert "One value has nothing" not in said


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "an empty file"),
        (b"\xff\xfe", "not UTF-8 text"),
        (b'{"cells": [', "its JSON is cut off"),
        (b'{"cells": ] }', "its JSON is broken in line 1"),
        (b"[1, 2]", "JSON of another kind"),
        (b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [1]}', "not a valid notebook"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_file_that_is_no_notebook_gets_a_reason(data, reason):
    with pytest.raises(submissions.Unreadable, match=reason):
        submissions.parse(data)


def test_a_class_folder_inside_the_repository_is_refused(capsys):
    assert main(["new", str(notebooks.ROOT / "class")]) == 1
    assert "inside the repository" in capsys.readouterr().err
    assert not (notebooks.ROOT / "class").exists()


def test_a_folder_with_something_else_in_it_is_refused(tmp_path, capsys):
    (tmp_path / "thesis.txt").touch()
    assert main(["new", str(tmp_path)]) == 1
    assert "neither empty nor a class folder" in capsys.readouterr().err


def test_no_command_prints_help(capsys):
    assert main([]) == 0
    assert "grade a class, or your own work" in capsys.readouterr().out


ROWS = [
    Row("s1", "01_a", {"test_x": Cell(3, 3, False), "bonus_y": Cell(1, 1, False), "why": Cell(2, 1.5, True)}),
    Row(
        "s2", "01_a", {"test_x": Cell(3, 0, False), "bonus_y": Cell(1, 0, False), "why": Cell(2, None, True)}
    ),
    Row("s2", "02_b", {}, "an empty file"),
    Row("s1", "02_b", {"test_z": Cell(1, 0, False)}, "", ("test_z was changed: restored",)),
]


def test_the_table_shows_points_bonus_what_is_to_mark_and_why_one_failed():
    table = report.table(ROWS)
    assert "4.5/5 +1 bonus" in table
    assert "0/5, 2 to mark" in table
    assert "failed: an empty file" in table
    assert "* s1, 02_b: test_z was changed: restored" in table


def test_the_csv_is_blank_and_not_0_where_a_number_is_not_known():
    final, awaiting, failed, zero = csv.DictReader(report.as_csv(ROWS).splitlines())
    assert (final["final"], final["out_of"], final["bonus"], final["by_hand"]) == ("5.5", "5", "1", "1.5")
    assert (awaiting["status"], awaiting["final"], awaiting["awaiting"]) == ("awaiting", "", "2")
    assert (failed["status"], failed["final"], failed["automatic"]) == ("failed", "", "")
    assert failed["reason"] == "an empty file"
    assert (zero["status"], zero["final"]) == ("final", "0")


def test_the_json_says_the_same():
    first = json.loads(report.as_json(ROWS))[0]
    assert first["final"] == 5.5
    assert first["cells"] == {"test_x": 3, "bonus_y": 1, "why": 1.5}


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("x = 1", "begins with a"),
        ('"""\nno toml\n"""', "in TOML"),
        ('"""\nwaht = "?"\n"""', "needs what="),
        ('"""\nwhat = "?"\ndamage = "burnt"\n"""', "damage= one of truncated"),
        ('"""\nwhat = "?"\n"""\n# %%\nx = 1', "header names one cell"),
    ],
)
def test_a_sample_file_with_a_mistake_is_named(tmp_path, text, complaint):
    path = tmp_path / "s99_wrong.py"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(sample.SampleError, match=rf"/s99_wrong\.py: .*{complaint}"):
        sample.read(path)
