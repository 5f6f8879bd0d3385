"""What the judge remembers of test cells, and how its workers tell each other."""

import os

import pytest

from autograder.judge import memory
from autograder.judge.memory import Memory, Outcome, Shared

ASKED = [('{"do": "bind"}', b'{"values":[1]}'), ('{"do": "call"}', b'{"return":2}')]
OUTCOME = Outcome(
    2.0, "ok \x000\x00", "", ("CheckFailed", "no\ud800"), (("\x000\x00", {"do": "line", "at": 3}),), 17, ({},)
)


def worker(folder, name, exercise="01"):
    """One of several workers: here they share a process, so their files get other names."""
    shared = Shared(folder, exercise)
    shared.name = f"{name}.{exercise}"
    return Memory(shared)


def known(one, cell="test"):
    """The outcome at the end of ASKED, as a submission that gives these answers finds it."""
    node = one.root(cell)
    for question, answer in ASKED:
        if node.question != question:
            return None
        node = node.after[answer]
    return node.outcome


def test_what_one_worker_has_seen_another_one_knows(tmp_path):
    first, second = worker(tmp_path, "a"), worker(tmp_path, "b")
    assert known(second) is None
    first.learn("test", ASKED, OUTCOME)
    assert known(second) == known(first) == OUTCOME
    second.learn("other", ASKED[:1], OUTCOME._replace(value=None, error=None))
    assert first.root("other").after[ASKED[0][1]].outcome == OUTCOME._replace(value=None, error=None)


def test_an_exercise_s_tests_are_no_other_exercise_s(tmp_path):
    worker(tmp_path, "a").learn("test", ASKED, OUTCOME)
    assert known(worker(tmp_path, "b", "02")) is None


def test_a_record_is_read_when_it_is_whole_and_not_before(tmp_path):
    worker(tmp_path, "a").learn("test", ASKED, OUTCOME)
    whole = (tmp_path / "a.01").read_bytes()
    second = worker(tmp_path, "b")
    for size in (0, 3, 4, len(whole) - 1):
        (tmp_path / "a.01").write_bytes(whole[:size])
        assert known(second) is None
    (tmp_path / "a.01").write_bytes(whole + whole[:9])
    assert known(second) == OUTCOME


def test_a_worker_that_cannot_write_grades_on(tmp_path, monkeypatch):
    first, second = worker(tmp_path, "a"), worker(tmp_path, "b")
    monkeypatch.setattr(os, "write", lambda _, data: len(data) // 2)  # the disk is full
    first.learn("test", ASKED, OUTCOME)
    monkeypatch.undo()
    first.learn("more", ASKED, OUTCOME)  # nothing goes behind a record that is not whole
    assert known(first) == known(first, "more") == OUTCOME
    assert known(second) is known(second, "more") is None


def test_a_folder_that_is_gone_stops_nobody(tmp_path):
    one = worker(tmp_path / "gone", "a")
    one.learn("test", ASKED, OUTCOME)
    assert known(one) == OUTCOME


def test_all_is_forgotten_when_it_is_too_much(monkeypatch):
    one = Memory()
    one.learn("test", ASKED, OUTCOME)
    monkeypatch.setattr(memory, "REMEMBERED", one.size - 1)
    assert known(one) is None
    assert one.size == 0


def test_a_memory_that_does_not_remember_runs_every_test_cell_anew(tmp_path):
    one = Memory(Shared(tmp_path, "01"), remembers=False)
    one.learn("test", ASKED, OUTCOME)
    assert known(one) is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("left", [0, 10])
def test_a_worker_tells_the_others_no_more_than_its_share(tmp_path, left):
    first, second = worker(tmp_path, "a"), worker(tmp_path, "b")
    first.shared.left = left
    first.learn("test", ASKED, OUTCOME)
    assert known(second) is None
