"""Submissions written to win without being right earn and harm nothing; right ones are not flagged."""

import copy
import hashlib
import json
import tomllib
from pathlib import Path

import jupytext
import psutil
import pytest

from autograder import engine, judge, notebooks
from conftest import missing

HERE = Path(__file__).parent / "attacks"
SCRIPT = HERE / "exercise" / "01_attacked.py"
NAME = SCRIPT.stem
FILES = sorted(path for path in HERE.glob("*/*.py") if path != SCRIPT)
ATTACKS = [path for path in FILES if path.parent.name != "innocent"]
INNOCENT = [path for path in FILES if path.parent.name == "innocent"]
TESTS = {"test_triple": 2, "test_window": 3, "test_few": 1, "bonus_share": 2}
#: An attack that waits is given less time than a class gives; the innocent have what they need.
HURRIED = engine.Options(cell_seconds=2, question_seconds=0.7, submission_seconds=8, memory=768 << 20)
pytestmark = pytest.mark.xdist_group("attacks")


def says(path):
    """What a file's docstring says, and its cells by the name of the cell that they replace."""
    _, docstring, rest = path.read_text("utf-8").split('"""', 2)
    cells = jupytext.reads(rest.strip(), fmt="py:percent").cells if rest.strip() else []
    return tomllib.loads(docstring), {cell.metadata["exercise"]: cell.source for cell in cells}


def handed_in(path, release):
    """The file that a student with this attack hands in."""
    said, cells = says(path)
    given, source = (json.loads(texts[NAME]) for texts in (release.given, release.sources))
    solved = {cell["id"]: cell["source"] for cell in source["cells"]}
    notebook = copy.deepcopy(given)
    for cell in notebook["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("solution"):
            if said.get("start") == "solution":
                cell["source"] = solved[cell["id"]]
            cell["source"] = cells.get(cell["id"], cell["source"])
        cell["source"] = "".join(cell["source"])
    exec(said.get("change", ""), {"notebook": notebook})  # noqa: S102  # ours
    return judge.Submission(f"{path.parent.name}-{path.stem}", NAME, json.dumps(notebook).encode())


def right(release, student):
    return judge.Submission(student, NAME, release.sources[NAME].encode())


def fingerprint():
    """What no submission may change: the library and the graders' own code."""
    total = hashlib.sha256()
    for part in ("svmlib", "autograder", "solutions", "tests/attacks"):
        for path in sorted((notebooks.ROOT / part).rglob("*.py")):
            total.update(f"{path} {path.stat().st_mode}".encode() + path.read_bytes())
    return total.hexdigest()


def released():
    """The attacked exercise; without enough layers the test ends here."""
    lacking = [layer for layer in engine.layers() if not layer.taken]
    if lacking:
        missing(f"too little protects here from submissions: {lacking}")
    return judge.Release(
        {NAME: "20201210"}, {NAME: notebooks.source(SCRIPT)}, {NAME: notebooks.exercise(SCRIPT)}
    )


@pytest.fixture(scope="module")
def release():
    return released()


@pytest.fixture(scope="module")
def attacked(release):
    """All attacks in one batch between right submissions: verdicts, whether all is as before, who is left."""
    middle = len(ATTACKS) // 2
    batch = [handed_in(path, release) for path in ATTACKS]
    batch = [right(release, "first"), *batch[:middle], right(release, "middle"), *batch[middle:]]
    batch.append(right(release, "last"))
    before, processes = fingerprint(), set(psutil.Process().children(recursive=True))
    verdicts = {verdict.student: verdict for verdict in engine.grade(release, batch, HURRIED)}
    left = set(psutil.Process().children(recursive=True)) - processes
    return verdicts, before == fingerprint(), left


@pytest.fixture(scope="module")
def innocent(release):
    batch = [handed_in(path, release) for path in INNOCENT]
    return {verdict.student: verdict for verdict in engine.grade(release, batch)}


def scores(verdict):
    return {name: mark.points for name, mark in verdict.marks.items() if name in TESTS}


def test_there_are_attacks_of_every_class():
    assert len(ATTACKS) >= 80
    assert {path.parent.name for path in FILES} == {
        "patching", "objects", "storage", "wire", "learning", "harm", "notebook", "innocent",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("path", ATTACKS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_an_attack_earns_nothing_that_it_did_not_deserve(attacked, path):
    said, _ = says(path)
    verdict = attacked[0][f"{path.parent.name}-{path.stem}"]
    assert verdict.status in said.get("status", ["graded"]), verdict.reason
    assert said.get("reason", "") in verdict.reason
    assert said.get("remark", "") in "; ".join(verdict.remarks)
    if verdict.status == "graded":
        assert scores(verdict) == dict.fromkeys(TESTS, 0) | said.get("expect", {}), verdict.marks
    else:
        assert verdict.marks == {}
    assert said.get("unseen", "\0") not in verdict.feedback


@pytest.mark.slow
def test_the_right_submissions_among_the_attacks_keep_their_marks(attacked):
    for student in ("first", "middle", "last"):
        assert scores(attacked[0][student]) == TESTS, student


@pytest.mark.slow
def test_nothing_outside_is_changed_and_no_process_is_left(attacked):
    _, unchanged, left = attacked
    assert unchanged
    assert not left


@pytest.mark.slow
@pytest.mark.parametrize("path", INNOCENT, ids=lambda path: path.stem)
def test_what_only_looks_like_an_attack_gets_its_marks(innocent, path):
    said, _ = says(path)
    verdict = innocent[f"innocent-{path.stem}"]
    assert verdict.status == "graded", verdict.reason
    assert scores(verdict) == TESTS, verdict.marks
    assert verdict.remarks == ((said["remark"],) if "remark" in said else ())
