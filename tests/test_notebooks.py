"""The promises for every notebook, and what its script's author is told when something is wrong."""

from itertools import pairwise
from pathlib import Path

import nbformat
import pytest

from autograder import notebooks
from autograder.run import marks, run

TINY = Path(__file__).parent / "tiny" / "solutions" / "01_swap.py"
SOLUTIONS = notebooks.scripts(notebooks.ROOT / "solutions")
LESSONS = notebooks.scripts(notebooks.ROOT / "course" / "lessons")

every_exercise = pytest.mark.parametrize("script", [TINY, *SOLUTIONS], ids=lambda script: script.stem)
every_lesson = pytest.mark.parametrize("script", LESSONS, ids=lambda script: script.stem)
pytestmark = pytest.mark.filterwarnings("default")  # nbgrader's, sqlalchemy's and zmq's own


def test_there_are_exercises_and_lessons():
    assert len(SOLUTIONS) >= 3
    assert len(LESSONS) >= 5


@every_exercise
def test_the_solution_scores_exactly_what_is_stated(script):
    ran = run(notebooks.source(script))
    scores = {name: score for name, score in marks(ran).items() if score is not None}
    assert scores == notebooks.expected(script)
    assert errors(ran) == []


@every_exercise
def test_the_released_exercise_does_not_already_pass(script):
    scores = marks(run(notebooks.exercise(script)))
    assert {name: score for name, score in scores.items() if score} == {}


@every_exercise
def test_the_released_exercise_holds_no_answer(script):
    release = notebooks.exercise(script)
    for word in ("BEGIN SOLUTION", "HIDDEN TESTS", "MARK SCHEME"):
        assert word not in release
    assert "MARK SCHEME" in notebooks.source(script)


def test_committed_notebooks_are_what_their_scripts_generate(capsys):
    assert notebooks.main(["--check"]) == 0, capsys.readouterr().out


@every_lesson
def test_a_lesson_runs_from_top_to_bottom(script):
    assert errors(run(notebooks.lesson(script))) == []


def errors(notebook):
    """What a reader would see in red."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]


def test_the_rubric_stands_at_the_end_of_the_question():
    cells = nbformat.reads(notebooks.source(TINY), as_version=4).cells
    question, answer = next(pair for pair in pairwise(cells) if pair[1].id == "why")
    assert question.source.startswith("**Question.**")
    assert "1 point: it says what is exchanged" in question.source
    assert question.metadata.nbgrader.locked
    assert answer.source == "One value has nothing to be exchanged with."


def test_a_notebook_says_what_it_is_about():
    about = nbformat.reads(notebooks.exercise(TINY), as_version=4).metadata.svmlib
    assert about == {"title": "1 · Swap", "difficulty": "easy", "minutes": 5, "points": 5, "bonus": 1}


@pytest.mark.parametrize(
    "text, becomes, complaint",
    [
        ('exercise="swap"', 'exercice="swap"', "cell 3: unknown in its header: exercice"),
        ('exercise="swap"', 'exercise="Swap it"', 'cell 3: exercise="Swap it": a name is lower-case'),
        ("points=2 test", "test", 'cell 4: test="swap" needs points= a number above 0'),
        ("points=2 test", "points=0 test", "cell 4: "),
        ("points=2 test", "points=2 tries=3 test", "cell 4: unknown in its header: tries"),
        ('test="words"', 'test="swap"', 'cell 5: a second cell with the id "test_swap"'),
        ("expect=0.5 ", "", 'cell 6: bonus test="arguments" needs expect='),
        ("expect=0.5 ", "expect=2 ", "cell 6: "),
        ("# BEGIN SOLUTION", "", 'cell 3: exercise="swap" has no region from BEGIN SOLUTION to END SOLUTION'),
        ("# END HIDDEN TESTS\n\n# %% bonus", "\n# %% bonus", 'cell 5: test="words" has no region'),
        ("MARK SCHEME", "RUBRIC", 'cell 8: answer="why" has no region from BEGIN MARK SCHEME'),
        ("[markdown]\n# **Question.**", "\n# ", 'cell 8: answer="why" needs its question'),
        ("[markdown] points=2 answer", "points=2 answer", 'cell 8: answer="why" is a code cell'),
        ("minutes=5", "", "cell 1: the first cell's header needs minutes="),
        ('"easy"', '"hopeless"', "cell 1: the first cell's header needs difficulty= one of easy"),
        ("# # 1 · Swap", "# Swap", "cell 1: the first cell is markdown and begins with the heading"),
    ],
)
def test_a_script_with_a_mistake_gives_one_line_with_file_and_cell(
    tmp_path, capsys, text, becomes, complaint
):
    (tmp_path / "solutions").mkdir()
    script = TINY.read_text("utf-8")
    assert text in script
    (tmp_path / "solutions" / "01_swap.py").write_text(script.replace(text, becomes), encoding="utf-8")
    assert notebooks.main([], root=tmp_path) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"solutions/01_swap.py, {complaint}")
    assert said.count("\n") == 1


def test_a_lesson_has_no_graded_cells():
    with pytest.raises(notebooks.ScriptError, match=r'cell 3: a lesson has no graded cells.*exercise="swap"'):
        notebooks.lesson(TINY)


def test_stale_and_stray_notebooks_are_named_with_the_command_that_repairs_them(tmp_path, capsys):
    (tmp_path / "solutions").mkdir()
    (tmp_path / "exercises").mkdir()
    (tmp_path / "solutions" / "01_swap.py").write_bytes(TINY.read_bytes())
    stray = tmp_path / "exercises" / "02_gone.ipynb"
    stray.touch()

    assert notebooks.main(["--check"], root=tmp_path) == 1
    said = capsys.readouterr().out
    assert "exercises/01_swap.ipynb: is stale" in said.replace("\\", "/")
    assert "02_gone.ipynb: has no source" in said
    assert "Repair with: python -m autograder.notebooks" in said

    assert notebooks.main([], root=tmp_path) == 0
    assert not stray.exists()
    assert notebooks.main(["--check"], root=tmp_path) == 0
