"""A file that no Jupyter would write ends in a verdict, harms nobody else's, and earns nothing new.

The mutants are of a right notebook and of the exercise as given out; tests/mutants.py says what is done.
"""

import json

import nbformat
import pytest

import mutants
import test_attacks
from autograder import engine, judge, submissions
from autograder.judge import restore
from autograder.judge.exercise import Exercise
from test_attacks import HURRIED, NAME, TESTS, right

FEW, MANY = range(200), range(200, 2200)
#: In a hidden test, and nowhere else.
HIDDEN = "sample(range(10**6), 5)"
#: What a cell may show that no notebook may hold.
ODD = {
    "JSON of no kind that is known": 'display({"xjson": {"a": 1}}, raw=True)',
    "no number": 'display({"application/json": float("nan")}, raw=True)',
    "half a character": 'display({"application/json": ["\\ud800"], "\\ud800": "", "": "\\ud800"}, raw=True)',
    "half a character said": 'print("\\ud800")\nraise type("\\udfff", (Exception,), {})("\\udfff")',
    "a list in a list in a list": "a = []\nfor _ in range(900):\n    a = [a]\n"
    'display({"application/json": a}, raw=True)',
    "a widget that is none": 'display({"application/vnd.jupyter.widget-view+json": 1}, raw=True)',
    "very much": 'display({"text/html": "x" * 30_000_000}, raw=True)',
    "very often": 'for i in range(100_000):\n    display({"text/plain": "x"}, raw=True)',
}
pytestmark = pytest.mark.xdist_group("attacks")


@pytest.fixture(scope="module")
def release():
    return test_attacks.released()


def solved(release):
    """The exercise with the model answers in it, as a student would hand it in."""
    given, source = (json.loads(texts[NAME]) for texts in (release.given, release.sources))
    for cell, whole in zip(given["cells"], source["cells"], strict=True):
        if cell["metadata"].get("nbgrader", {}).get("solution"):
            cell["source"] = whole["source"]
    return json.dumps(given).encode()


def handed_in(release, seeds):
    """Mutants of a right notebook (even seeds) and of an untouched one (odd ones)."""
    bases = solved(release), release.given[NAME].encode()
    for seed in seeds:
        data = mutants.mutant(bases[seed % 2], seed)
        yield judge.Submission(f"{'untouched' if seed % 2 else 'solved'} {seed}", NAME, data)


def faults(verdict):
    """What is wrong with a verdict, whatever came in."""
    if verdict.status == "failed":
        # The last two are the pool's words for what took its worker along.
        ours = ("", "it took the grading process down", "it had no end")
        if verdict.marks or any(verdict.reason[: len(words) or None] == words for words in ours):
            yield f"failed: {verdict.reason or 'no reason'}"
        return
    if verdict.status != "graded":
        yield f"{verdict.status}: {verdict.reason}"
        return
    for name, worth in TESTS.items():
        most = 0 if verdict.student.startswith("untouched") else worth
        if not (name in verdict.marks and 0 <= verdict.marks[name].points <= most):
            yield f"{name}: {verdict.marks.get(name)}"
    if HIDDEN not in verdict.notebook:
        yield "the hidden test is not in the grader's notebook"
    if HIDDEN in verdict.feedback:
        yield "the hidden test is in the student's notebook"
    for text in (verdict.notebook, verdict.feedback):
        try:
            text.encode()
            nbformat.validate(nbformat.reads(text, as_version=4))
        except (ValueError, nbformat.ValidationError) as error:
            yield f"its notebook is none: {error}"
    if judge.Verdict.from_dict(json.loads(json.dumps(verdict.as_dict()))) != verdict:
        yield "JSON changes it"


def verdicts_of(release, seeds):
    """Grade mutants in one run between right submissions; every verdict is as it must be."""
    batch = [right(release, "first"), *handed_in(release, seeds), right(release, "last")]
    verdicts = list(engine.grade(release, batch, HURRIED))
    assert sorted(verdict.student for verdict in verdicts) == sorted(one.student for one in batch)
    wrong = [f"{verdict.student}: {fault}" for verdict in verdicts for fault in faults(verdict)]
    assert not wrong, "\n".join(wrong)
    for verdict in verdicts:
        if verdict.student in ("first", "last"):
            assert {name: verdict.marks[name].points for name in TESTS} == TESTS
    return verdicts


def test_a_mutated_notebook_ends_in_a_verdict(release):
    verdicts = verdicts_of(release, FEW)
    # The judge and what stands before it have both been met, or this would say little.
    for status in ("graded", "failed"):
        assert sum(verdict.status == status for verdict in verdicts) > len(FEW) / 4


@pytest.mark.slow
def test_two_thousand_mutated_notebooks_end_in_a_verdict_each(release):
    verdicts_of(release, MANY)


def test_what_a_cell_shows_is_kept_as_a_notebook_that_can_be_read(release):
    batch = []
    for student, code in ODD.items():
        notebook = json.loads(solved(release))
        cell = {"cell_type": "code", "id": "odd", "metadata": {}, "outputs": [], "execution_count": None}
        cell["source"] = f"from IPython.display import display\n{code}"
        notebook["cells"].insert(2, cell)
        batch.append(judge.Submission(student, NAME, json.dumps(notebook).encode()))
    for verdict in engine.grade(release, batch, HURRIED):
        assert not list(faults(verdict)), verdict.student
        assert {name: verdict.marks[name].points for name in TESTS} == TESTS, verdict.student
        json.loads(verdict.notebook, parse_constant=pytest.fail)


def test_a_mutated_notebook_is_graded_with_each_cell_of_the_exercise_once_or_not_at_all(release):
    exercise = Exercise(NAME, release.sources[NAME], release.given[NAME])
    marked = sorted(cell.id for cell in exercise.cells if cell.role != "plain")
    reasons = []
    for submission in handed_in(release, MANY):
        try:
            placed, _ = restore.arrange(restore.read(submission.data), exercise)
        except submissions.Unreadable as error:
            reasons.append(str(error))
        else:
            there = sorted(cell.of.id for cell in placed if cell.of is not None and cell.of.role != "plain")
            assert there == marked, submission.student
    # A reason is a line for a person: it quotes neither the file nor Python.
    assert all(reason.isprintable() and len(reason) < 120 for reason in reasons)
    assert not [reason for reason in reasons if "object" in reason or "expected" in reason]
