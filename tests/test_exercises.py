"""The exercises and their answer set, without kernels: each answer scores what its file says."""

import ast
import re

import nbformat
import pytest

from autograder import notebooks, sample

SCRIPTS = {script.stem: script for script in notebooks.scripts(notebooks.ROOT / "solutions")}
#: Damaged files and cells that need a time limit are for the test of the real grading.
SAMPLES = [
    one for one in sample.read_all() if "damage" not in one.says and "while True" not in str(one.cells)
]
every_exercise = pytest.mark.parametrize("name", SCRIPTS)


@pytest.fixture(scope="module")
def made():
    return {
        name: tuple(
            nbformat.reads(make(script), as_version=4) for make in (notebooks.exercise, notebooks.source)
        )
        for name, script in SCRIPTS.items()
    }


def run(source, namespace):
    """Run a cell as a kernel does: its last expression is its value."""
    tree = ast.parse(source)
    last = (
        tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else ast.Expr(ast.Constant(None))
    )
    exec(compile(tree, "<cell>", "exec"), namespace)  # noqa: S102  # our own files
    value = ast.fix_missing_locations(ast.Expression(last.value))
    return eval(compile(value, "<cell>", "eval"), namespace)  # noqa: S307


def scores(cells):
    """What each graded cell of code gives: its points, the number it ends in, or 0 after an error."""
    namespace, given = {"__name__": "__main__"}, {}
    for cell in cells:
        if cell.cell_type != "code":
            continue
        block = cell.metadata.get("nbgrader", {})
        try:
            value = run(cell.source, namespace)
            given[cell.id] = block.get("points") if value is None else value
        except Exception:  # noqa: BLE001  # whatever a submission raises
            given[cell.id] = 0
    return {cell.id: given[cell.id] for cell in cells if cell.id.startswith(("test_", "bonus_"))}


@pytest.mark.parametrize("one", SAMPLES, ids=lambda one: f"{one.exercise}/{one.student}")
def test_an_answer_scores_what_its_file_says(made, one, monkeypatch, capsys):
    monkeypatch.setenv("SVMLIB_SEED", "8261")
    release, source = made[one.exercise]
    locked = {cell.id: cell for cell in source.cells if cell.metadata.get("nbgrader", {}).get("locked")}
    handed_in = [locked.get(cell.id, cell) for cell in sample.notebook(one, release, source).cells]
    expected = sample.expected(one, release)
    got = scores(handed_in)
    assert got == {name: expected[name] for name in got}
    assert capsys.readouterr().err == ""


@every_exercise
def test_the_head_states_the_points(made, name):
    release, _ = made[name]
    about, head = release.metadata.svmlib, release.cells[0].source
    blocks = {cell.id: cell.metadata.get("nbgrader", {}) for cell in release.cells}
    points = {
        cell: block["points"] for cell, block in blocks.items() if block.get("grade") and cell[:6] != "bonus_"
    }
    tests = sum(worth for cell, worth in points.items() if cell.startswith("test_"))
    by_hand = sum(points.values()) - tests
    assert f"{about.points} points: {tests} by tests, {by_hand} for a written answer." in head
    assert f"{about.bonus} bonus points" in head


@every_exercise
def test_the_text_before_a_test_states_its_points(made, name):
    release, _ = made[name]
    for before, cell in zip(release.cells, release.cells[1:], strict=False):
        block = cell.metadata.get("nbgrader", {})
        if block.get("grade"):
            said = release.cells[release.cells.index(before) - 1] if cell.id.startswith("bonus_") else before
            assert re.search(rf"\b{block['points']}( bonus)?\spoints?\b", said.source), cell.id


@every_exercise
def test_cells_are_short(made, name):
    for cell in made[name][0].cells:
        if cell.cell_type == "code" and not cell.metadata.get("nbgrader", {}).get("solution"):
            assert len(cell.source.splitlines()) <= 15, cell.id


@every_exercise
def test_the_first_code_cell_names_a_missing_library_and_the_cure(made, name):
    first = next(cell for cell in made[name][0].cells if cell.cell_type == "code")
    blocked = {
        "__name__": "__main__",
        "__builtins__": {**vars(__import__("builtins")), "__import__": _missing},
    }
    with pytest.raises(ImportError, match="run `make course`"):
        exec(first.source, blocked)  # noqa: S102  # our own cell


def _missing(name, *rest):
    raise ModuleNotFoundError(name)


def test_every_sample_says_which_check_is_to_catch_it():
    for one in sample.read_all():
        wrong = one.says.get("start") != "release" and any(
            not score for name, score in one.says.get("expect", {}).items() if name.startswith("test_")
        )
        if wrong and "endless" not in one.student:
            assert re.search(r"test_\w+|check", one.says["what"]), f"{one.exercise}/{one.student}"
