"""The judge: the sample class gets the marks that its files state, which are stock nbgrader's, too."""

import json
import os
from pathlib import Path

import nbformat
import pytest

from autograder import engine, judge, notebooks, sample
from autograder.engine.sandbox import Sandbox, Settings
from autograder.judge import cells, grading
from autograder.judge.exercise import Exercise
from autograder.judge.memory import Memory
from conftest import missing

TINY = Path(__file__).parent / "tiny"
SEED = "20201214"
#: A cell that is meant never to end is given less time than in a class.
HURRIED = engine.Options(cell_seconds=3)
pytestmark = pytest.mark.xdist_group("judge")


def released(scripts):
    """What decides the marks of a class with these exercises."""
    return judge.Release(
        {script.stem: SEED for script in scripts},
        {script.stem: notebooks.source(script) for script in scripts},
        {script.stem: notebooks.exercise(script) for script in scripts},
    )


def handed_in(samples, scripts, folder):
    """The files of a sample class, as they come in; one under another name is for who collects them."""
    by_name = {script.stem: script for script in scripts}
    for one in samples:
        if one.says.get("damage") != "renamed":
            sample.hand_in(one, folder, by_name[one.exercise])
            path = folder / one.student / one.exercise / f"{one.exercise}.ipynb"
            yield judge.Submission(one.student, one.exercise, path.read_bytes())


class Class:
    """A sample class, graded once."""

    def __init__(self, scripts, samples, folder):
        lacking = [layer for layer in engine.layers() if not layer.taken]
        if lacking:
            missing(f"too little protects here from submissions: {lacking}")
        self.release = released(scripts)
        self.submissions = list(handed_in(samples, scripts, folder))
        endless = [one for one in self.submissions if one.student == "endless_cell"]
        others = [one for one in self.submissions if one.student != "endless_cell"]
        self.verdicts = {
            (verdict.exercise, verdict.student): verdict
            for some, options in ((others, engine.Options()), (endless, HURRIED))
            for verdict in engine.grade(self.release, some, options)
        }

    def given(self, exercise):
        return nbformat.reads(self.release.given[exercise], as_version=4)


COURSE = notebooks.scripts(notebooks.ROOT / "solutions")
SAMPLES = [one for one in sample.read_all() if one.says.get("damage") != "renamed"]
SMALL = [one for one in sample.read_all(TINY / "sample_class") if one.says.get("damage") != "renamed"]


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    return Class(COURSE, SAMPLES, tmp_path_factory.mktemp("course"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return Class(notebooks.scripts(TINY / "solutions"), SMALL, tmp_path_factory.mktemp("tiny"))


def scores(verdict):
    return {name: mark.points for name, mark in verdict.marks.items()}


@pytest.mark.slow
@pytest.mark.parametrize("one", SAMPLES, ids=lambda one: f"{one.exercise}-{one.student}")
def test_a_submission_of_the_sample_class_scores_what_its_file_says(course, one):
    verdict = course.verdicts[one.exercise, one.student]
    assert one.says.get("failed", "") in verdict.reason
    assert verdict.status == ("failed" if "failed" in one.says else "graded"), verdict.reason
    assert one.says.get("remark", "") in "; ".join(verdict.remarks)
    if "failed" not in one.says:
        assert scores(verdict) == sample.expected(one, course.given(one.exercise))


#: What the judge says where a stock kernel's words do not fit.
ENDED = {"s11_kills_the_kernel": "its process ended itself (exit 1), in swap"}


@pytest.mark.parametrize("one", SMALL, ids=lambda one: one.student)
def test_a_submission_of_the_tiny_class_scores_what_its_file_says(tiny, one):
    verdict = tiny.verdicts[one.exercise, one.student]
    if (
        one.student == "s12_kills_the_grader"
    ):  # the signal does not leave the sandbox: its function is missing
        assert verdict.status == "graded"
        assert scores(verdict) == {"test_swap": 0, "test_words": 0, "bonus_arguments": 0, "why": None}
    elif "failed" in one.says:
        assert ENDED.get(one.student, one.says["failed"]) in verdict.reason
    else:
        assert scores(verdict) == sample.expected(one, tiny.given(one.exercise))
        assert one.says.get("remark", "") in "; ".join(verdict.remarks)


def test_every_lost_mark_has_a_reason(tiny):
    for verdict in tiny.verdicts.values():
        for name, mark in verdict.marks.items():
            if mark.points is not None and mark.points < mark.worth:
                assert mark.reason or name == "bonus_arguments", (verdict.student, name)


def test_hidden_code_is_in_the_graders_notebook_and_not_in_the_students(tiny):
    hidden = "swap(seed, 0)"
    for verdict in tiny.verdicts.values():
        if verdict.status == "graded":
            assert hidden in verdict.notebook
            assert hidden not in verdict.feedback
            for text in (verdict.notebook, verdict.feedback):
                nbformat.validate(nbformat.reads(text, as_version=4))


def test_a_verdict_survives_json(tiny):
    for verdict in tiny.verdicts.values():
        assert judge.Verdict.from_dict(json.loads(json.dumps(verdict.as_dict()))) == verdict


USED_LATER = """\
# %% [markdown] difficulty="easy" minutes=5
# # 1 · Later

# %% exercise="twice"
def twice(number):
    # BEGIN SOLUTION
    return 2 * number
    # END SOLUTION


# %% points=1 test="twice"
half = 21
assert twice(half) == 42
# BEGIN HIDDEN TESTS
assert twice(1) == 2
# END HIDDEN TESTS

# %% points=1 test="three"
three = 3
assert three == 3
# BEGIN HIDDEN TESTS
assert three < 4
# END HIDDEN TESTS

# %% points=1 test="syntax"
# %precision 3
assert True
# BEGIN HIDDEN TESTS
assert 1
# END HIDDEN TESTS

# %% exercise="whole"
# BEGIN SOLUTION
def whole():
    return twice(half) + three
# END SOLUTION


# %% points=1 test="whole"
assert whole() == 45
# BEGIN HIDDEN TESTS
assert whole() > 0
# END HIDDEN TESTS
"""


def test_what_test_cells_define_is_there_for_the_cells_after_them(tmp_path):
    script = tmp_path / "01_later.py"
    script.write_text(USED_LATER, "utf-8")
    release = released([script])
    whole = judge.Submission("s", script.stem, release.sources[script.stem].encode())
    given = judge.Submission("t", script.stem, release.given[script.stem].encode())
    right, empty = sorted(engine.grade(release, [whole, given]), key=lambda verdict: verdict.student)
    assert set(scores(right).values()) == {1}
    assert scores(empty) == {"test_twice": 0, "test_three": 1, "test_syntax": 1, "test_whole": 0}


def test_a_notebook_that_is_kept_has_a_line_for_each_cell(tiny):
    for verdict in tiny.verdicts.values():
        if verdict.status == "graded":
            cells = nbformat.reads(verdict.feedback, as_version=4).cells
            assert len(verdict.feedback.splitlines()) == len(cells) + 2


NO_FUNCTION = (
    "swap = types.SimpleNamespace()\nswap.me = swap",
    "swap = types.SimpleNamespace(a=types.SimpleNamespace(b=1))",
    "swap = types.SimpleNamespace(large=10**9999)",
    "swap = 10**9999",
    "swap = list(range(200_000))",
    "swap = ['x' * 400_000 for _ in range(20)]",
)


def with_answer(tiny, answer):
    notebook = nbformat.reads(tiny.release.given["01_swap"], as_version=4)
    cell = next(one for one in notebook.cells if one.metadata.get("nbgrader", {}).get("grade_id") == "swap")
    cell.source = f"import types\n{answer}"
    return judge.Submission(answer, "01_swap", nbformat.writes(notebook).encode())


def test_what_is_no_function_is_no_attempt_on_the_judge_either(tiny):
    submissions = [with_answer(tiny, answer) for answer in NO_FUNCTION]
    for verdict in engine.grade(tiny.release, submissions, engine.Options(workers=1)):
        assert verdict.status == "graded", (verdict.student, verdict.reason)
        assert verdict.marks["test_swap"].points == 0
        assert verdict.marks["test_swap"].reason.startswith("TypeError: ")


def test_with_a_worker_for_every_cpu_each_stays_on_its_own(tiny):
    cpus = sorted(os.sched_getaffinity(0))
    answer = "import os\ndef swap(a, b):\n    raise ValueError(sorted(os.sched_getaffinity(0)))"
    submissions = [with_answer(tiny, f"{answer}  # {number}") for number in range(4 * len(cpus))]
    for workers in (len(cpus), len(cpus) + 1):
        verdicts = engine.grade(tiny.release, submissions, engine.Options(workers=workers))
        places = {verdict.marks["test_swap"].reason.split("\n")[0] for verdict in verdicts}
        each = {f"ValueError: {[cpu]}" for cpu in cpus}
        assert places <= each if workers == len(cpus) else places == {f"ValueError: {cpus}"}


@pytest.fixture
def graded_here(tiny, monkeypatch):
    """Grades the right submission in this process, with the memory that is given."""
    monkeypatch.setenv("SVMLIB_SEED", SEED)
    exercise = Exercise("01_swap", tiny.release.sources["01_swap"], tiny.release.given["01_swap"])
    right = judge.Submission("right", "01_swap", tiny.release.sources["01_swap"].encode())
    with Sandbox(Settings()) as box:
        yield lambda memory: grading.grade(right, exercise, memory, box.process)


def test_what_a_check_s_own_clock_may_have_ended_is_not_remembered(graded_here, monkeypatch):
    memory = Memory()
    monkeypatch.setattr(cells, "SECONDS", 0)
    first, second = graded_here(memory), graded_here(memory)
    assert first.marks == second.marks
    assert second.remembered == 0
    monkeypatch.setattr(cells, "SECONDS", 60)
    assert [graded_here(memory).remembered, graded_here(memory).remembered] == [0, len(memory.roots)]


def test_a_memory_that_is_wrong_misleads_no_submission_and_is_forgotten(graded_here):
    memory = Memory()
    right = graded_here(memory)
    root = memory.roots["test_swap"]
    (node,) = root.after.values()
    node.question = json.dumps({"do": "changed", "of": []})
    for after in node.after.values():
        after.outcome, after.question = None, ""
    again = graded_here(memory)
    assert (again.status, again.marks) == ("graded", right.marks)
    assert memory.roots == {}
