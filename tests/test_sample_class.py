"""The sample class, graded once: every submission scores exactly what its file says."""

from collections import Counter

import nbformat
import pytest

from autograder import notebooks, sample

SAMPLES = sample.read_all()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # nbgrader's and sqlalchemy's own
    pytest.mark.xdist_group("sample_class"),
]


def test_every_exercise_has_at_least_twelve_submissions():
    exercises = [script.stem for script in notebooks.scripts(notebooks.ROOT / "solutions")]
    counts = Counter(one.exercise for one in SAMPLES)
    assert exercises
    assert [name for name in exercises if counts[name] < 12] == []


@pytest.fixture(scope="session")
def rows(sample_class):
    return sample_class[1]


@pytest.fixture(scope="session")
def releases():
    scripts = notebooks.scripts(notebooks.ROOT / "solutions")
    return {script.stem: nbformat.reads(notebooks.exercise(script), as_version=4) for script in scripts}


@pytest.mark.parametrize("one", SAMPLES, ids=lambda one: f"{one.exercise}/{one.student}")
def test_a_submission_scores_what_its_file_says(rows, releases, one):
    row = rows[one.student, one.exercise]
    assert one.says.get("failed", "") in row.reason
    assert bool(row.reason) == ("failed" in one.says), row.reason
    assert one.says.get("remark", "") in "; ".join(row.remarks)
    if not row.reason:
        scores = {name: cell.score for name, cell in row.cells.items()}
        assert scores == sample.expected(one, releases[one.exercise])
