"""A learner's progress: kept by the notebooks in the work folder, read by the start page."""

import json

import pytest

from svmlib import __version__, progress


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A work folder with a lesson and an exercise of two tests."""
    (tmp_path / progress.MARKER).write_text("{}")
    about = {"title": "1 · A title", "difficulty": "easy", "minutes": 20}
    for name, cells in (
        ("01_a_lesson", ["cell-2"]),
        ("01_an_exercise", ["f", "test_f", "test_g", "bonus_f"]),
    ):
        code = [{"cell_type": "code", "id": cell} for cell in cells]
        text = {"cells": [{"cell_type": "markdown", "id": "cell-1"}, *code], "metadata": {"svmlib": about}}
        (tmp_path / f"{name}.ipynb").write_text(json.dumps(text))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def states(folder):
    return {row.notebook: (row.kind, row.state, row.passed, row.of) for row in progress.overview(folder)}


def test_a_fresh_work_folder_is_all_open_and_lists_the_lesson_before_its_exercise(work):
    assert list(states(work).items()) == [
        ("01_a_lesson", ("lesson", "open", 0, 1)),
        ("01_an_exercise", ("exercise", "open", 0, 2)),
    ]


def test_an_exercise_is_tried_until_each_of_its_tests_has_passed_at_its_last_run(work):
    progress.record(work, "01_an_exercise", "test_f", passed=True)
    progress.record(work, "01_an_exercise", "test_g", passed=False)
    assert states(work)["01_an_exercise"] == ("exercise", "tried", 1, 2)
    progress.record(work, "01_an_exercise", "test_g", passed=True)
    assert states(work)["01_an_exercise"] == ("exercise", "done", 2, 2)
    progress.record(work, "01_an_exercise", "test_f", passed=False)
    assert states(work)["01_an_exercise"] == ("exercise", "tried", 1, 2)


def test_a_progress_file_that_cannot_be_read_is_begun_anew(work):
    (work / progress.FILE).write_text("{cut off")
    assert states(work)["01_a_lesson"][1] == "open"
    progress.record(work, "01_a_lesson", "cell-2", passed=True)
    assert states(work)["01_a_lesson"][1] == "done"


def test_a_notebook_that_cannot_be_read_is_left_out_and_the_others_are_listed(work):
    (work / "01_a_lesson.ipynb").write_text("{cut off")
    assert list(states(work)) == ["01_an_exercise"]


def test_the_work_folder_is_found_from_inside_and_nowhere_else(work, tmp_path_factory, monkeypatch):
    inside = work / "backups"
    inside.mkdir()
    monkeypatch.chdir(inside)
    assert progress.work_folder() == work
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert progress.work_folder() is None
    assert progress.overview() == []


def test_a_notebook_for_another_svmlib_says_which_and_what_to_type():
    with pytest.raises(ImportError, match=rf"written for svmlib 9\.9.*{__version__}.*make course"):
        progress.begin("01_an_exercise", svmlib="9.9.0")


def test_each_cell_that_ran_in_ipython_is_kept(work):
    shell = pytest.importorskip("IPython.core.interactiveshell").InteractiveShell.instance()
    try:
        for _ in range(2):
            progress.begin("01_a_lesson", svmlib=__version__)
        shell.run_cell("1", store_history=False, cell_id="cell-2")
    finally:
        shell.events.callbacks["post_run_cell"].clear()
        type(shell).clear_instance()
    assert states(work)["01_a_lesson"] == ("lesson", "done", 1, 1)
