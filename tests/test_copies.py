"""The learner's copies: made, renewed while untouched, kept once changed, backed up when reset."""

import json

import pytest

from course import copies


def notebook(*sources, **cell):
    cells = [
        {"cell_type": "code", "id": f"cell-{n}", "metadata": {}, "source": text, "outputs": []} | cell
        for n, text in enumerate(sources)
    ]
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def save(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), "utf-8")


@pytest.fixture
def root(tmp_path):
    """A course of two lessons and one exercise, and a learner who has opened it once."""
    save(tmp_path / "course/00_start_here.ipynb", notebook("start"))
    save(tmp_path / "course/01_what_vmrun_leaves_behind.ipynb", notebook("look"))
    save(tmp_path / "exercises/01_legacy_path.ipynb", notebook("write", "test"))
    copies.renew(tmp_path, tmp_path / "work")
    return tmp_path


def text(path):
    return json.loads(path.read_text("utf-8"))["cells"][0]["source"]


def test_lessons_and_exercises_lie_side_by_side_so_that_their_links_work(root):
    assert sorted(path.name for path in (root / "work").glob("*.ipynb")) == [
        "00_start_here.ipynb",
        "01_legacy_path.ipynb",
        "01_what_vmrun_leaves_behind.ipynb",
    ]


def test_the_folder_is_marked_as_a_learners(root):
    assert (root / "work/.course.json").exists()


def test_what_was_copied_is_said_once(tmp_path):
    save(tmp_path / "course/00_start_here.ipynb", notebook("start"))
    assert copies.renew(tmp_path, tmp_path / "work") == ["work/ has 1 new notebook."]
    assert copies.renew(tmp_path, tmp_path / "work") == []


def test_a_changed_copy_is_never_overwritten_and_is_named_when_there_is_a_new_one(root):
    save(root / "work/01_legacy_path.ipynb", notebook("mine", "test"))
    assert copies.renew(root, root / "work") == []
    save(root / "exercises/01_legacy_path.ipynb", notebook("write it", "test"))
    said = copies.renew(root, root / "work")
    assert said == [
        (
            "Kept, since you changed it: 01_legacy_path.ipynb. "
            "For the new one, type: make reset NN=01_legacy_path"
        )
    ]
    assert text(root / "work/01_legacy_path.ipynb") == "mine"
    assert copies.renew(root, root / "work") == said


def test_an_untouched_copy_is_renewed_after_an_upgrade(root):
    save(root / "exercises/01_legacy_path.ipynb", notebook("write it", "test"))
    assert copies.renew(root, root / "work") == [
        "Renewed, since you had not changed them: 01_legacy_path.ipynb."
    ]
    assert text(root / "work/01_legacy_path.ipynb") == "write it"


def test_a_copy_that_was_only_run_and_saved_counts_as_untouched(root):
    run = notebook(["wri", "te"], ["test"], outputs=[{"output_type": "stream"}], execution_count=3)
    save(root / "work/01_legacy_path.ipynb", run | {"metadata": {"language_info": {"name": "python"}}})
    save(root / "exercises/01_legacy_path.ipynb", notebook("write it", "test"))
    copies.renew(root, root / "work")
    assert text(root / "work/01_legacy_path.ipynb") == "write it"


def test_a_copy_that_was_only_run_keeps_its_outputs_while_there_is_nothing_new(root):
    run = notebook("write", "test", outputs=[{"output_type": "stream"}])
    save(root / "work/01_legacy_path.ipynb", run)
    copies.renew(root, root / "work")
    assert json.loads((root / "work/01_legacy_path.ipynb").read_text("utf-8")) == run


def test_a_new_title_or_time_alone_is_an_upgrade(root):
    save(root / "course/00_start_here.ipynb", notebook("start") | {"metadata": {"svmlib": {"minutes": 9}}})
    assert "Renewed" in copies.renew(root, root / "work")[0]


def test_new_points_alone_are_an_upgrade(root):
    save(
        root / "exercises/01_legacy_path.ipynb",
        notebook("write", "test", metadata={"nbgrader": {"points": 3}}),
    )
    assert "Renewed" in copies.renew(root, root / "work")[0]


def test_a_copy_that_cannot_be_read_is_kept(root):
    (root / "work/01_legacy_path.ipynb").write_text('{"cells": [', "utf-8")
    save(root / "exercises/01_legacy_path.ipynb", notebook("write it", "test"))
    assert "Kept" in copies.renew(root, root / "work")[0]
    assert (root / "work/01_legacy_path.ipynb").read_text("utf-8") == '{"cells": ['


def test_a_copy_that_cannot_be_read_is_kept_without_its_record_too(root):
    (root / "work/01_legacy_path.ipynb").write_text("{", "utf-8")
    (root / "work/.course.json").unlink()
    assert "Kept" in copies.renew(root, root / "work")[0]
    assert (root / "work/01_legacy_path.ipynb").read_text("utf-8") == "{"


@pytest.mark.parametrize("damage", ["", "[]", '{"copies": 1}', '{"copies": {"01_legacy_path.ipynb": null}}'])
def test_without_its_record_a_changed_copy_is_kept(root, damage):
    save(root / "work/01_legacy_path.ipynb", notebook("mine", "test"))
    (root / "work/.course.json").write_text(damage, "utf-8")
    assert ["Kept" in line for line in copies.renew(root, root / "work")] == [True]
    assert text(root / "work/01_legacy_path.ipynb") == "mine"


def test_without_its_record_a_copy_like_the_source_keeps_its_outputs_and_is_known_again(root):
    run = notebook("write", "test", outputs=[{"output_type": "stream"}])
    save(root / "work/01_legacy_path.ipynb", run)
    (root / "work/.course.json").unlink()
    assert copies.renew(root, root / "work") == []
    assert json.loads((root / "work/01_legacy_path.ipynb").read_text("utf-8")) == run


def test_a_deleted_copy_comes_back(root):
    (root / "work/01_legacy_path.ipynb").unlink()
    copies.renew(root, root / "work")
    assert text(root / "work/01_legacy_path.ipynb") == "write"


@pytest.mark.parametrize(
    "asked", ["01_legacy_path", "01_legacy_path.ipynb", "work/01_legacy_path.ipynb", "01_l"]
)
def test_reset_gives_a_fresh_copy_and_keeps_a_dated_backup(root, asked):
    save(root / "work/01_legacy_path.ipynb", notebook("mine", "test"))
    said = copies.reset(root, root / "work", asked)
    (backup,) = (root / "work/backups").iterdir()
    assert text(root / "work/01_legacy_path.ipynb") == "write"
    assert text(backup) == "mine"
    assert backup.name in said
    assert copies.renew(root, root / "work") == []


def test_two_resets_at_once_keep_two_backups(root):
    for mine in ("first", "second"):
        save(root / "work/01_legacy_path.ipynb", notebook(mine, "test"))
        copies.reset(root, root / "work", "01_legacy_path")
    assert sorted(map(text, (root / "work/backups").iterdir())) == ["first", "second"]


def test_reset_forgets_what_the_checks_had_found_in_that_notebook_alone(root):
    (root / "work/.progress.json").write_text(
        '{"01_legacy_path": {"a": true}, "other": {"a": true}}', "utf-8"
    )
    copies.reset(root, root / "work", "01_legacy_path")
    assert json.loads((root / "work/.progress.json").read_text("utf-8")) == {"other": {"a": True}}


def test_reset_of_a_copy_that_is_not_there_makes_it(root):
    (root / "work/01_legacy_path.ipynb").unlink()
    assert copies.reset(root, root / "work", "01_legacy_path") == "work/01_legacy_path.ipynb is fresh."


@pytest.mark.parametrize(
    "asked, said",
    [
        (
            "01",
            "Several notebooks begin with '01'. Type one of these names in full: 01_what_vmrun",
        ),
        ("9", "No notebook begins with '9'. Type one of these names in full: 00_start_here,"),
        ("", "reset needs a notebook's name. Type: make reset NN=01_legacy_path"),
    ],
)
def test_a_name_that_does_not_tell_which_notebook_gets_one_line_with_the_names(root, asked, said):
    with pytest.raises(SystemExit) as stopped:
        copies.reset(root, root / "work", asked)
    assert str(stopped.value).startswith(said)
    assert "\n" not in str(stopped.value)
