"""What the judge remembers of test cells, and how its workers tell each other."""

import contextlib
import json
import os
import tempfile

import pytest

from autograder.judge import conversation, memory
from autograder.judge.conversation import Conversation, Lost, Tampering
from autograder.judge.memory import Memory, Outcome, Shared

ASKED = [('{"do": "bind"}', b'{"values":[1]}'), ('{"do": "call"}', b'{"return":2}')]
OUTCOME = Outcome(
    2.0, "ok \x000\x00", "", ("CheckFailed", "no\ud800"), (("\x000\x00", {"do": "line", "at": 3}),), 17, ({},)
)


@pytest.fixture
def files():
    """The files of three workers; here they share a process."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(tempfile.TemporaryFile()).fileno() for _ in range(3)]


def worker(files, number, exercise="01"):
    return Memory(exercise, Shared(files, number))


def known(one, cell="test"):
    """The outcome at the end of ASKED, as a submission that gives these answers finds it."""
    node = one.root(cell)
    for question, answer in ASKED:
        if node.question != question:
            return None
        node = node.after[answer]
    return node.outcome


def test_what_one_worker_has_seen_another_one_knows(files):
    first, second = worker(files, 0), worker(files, 1)
    assert known(second) is None
    first.learn("test", ASKED, OUTCOME)
    assert known(second) == known(first) == OUTCOME
    second.learn("other", ASKED[:1], OUTCOME._replace(value=None, error=None))
    assert first.root("other").after[ASKED[0][1]].outcome == OUTCOME._replace(value=None, error=None)


def test_an_exercise_s_tests_are_no_other_exercise_s(files):
    worker(files, 0).learn("test", ASKED, OUTCOME)
    assert known(worker(files, 1, "02")) is None
    assert known(worker(files, 1)) == OUTCOME


def test_a_record_is_read_when_it_is_whole_and_not_before(files):
    worker(files, 0).learn("test", ASKED, OUTCOME)
    whole = os.pread(files[0], 1 << 20, 0)
    second = worker(files, 1)
    for size in (0, 3, 4, len(whole) - 1):
        os.ftruncate(files[0], 0)
        os.pwrite(files[0], whole[:size], 0)
        assert known(second) is None
    os.pwrite(files[0], whole + whole[:9], 0)
    assert known(second) == OUTCOME


def test_who_takes_a_worker_s_place_knows_what_it_knew_and_goes_on_behind_it(files):
    worker(files, 0).learn("test", ASKED, OUTCOME)
    size = os.fstat(files[0]).st_size
    os.pwrite(files[0], b"\0\1\0\0 half a record" * 1000, size)
    first, second = worker(files, 0), worker(files, 1)
    assert known(first) == OUTCOME
    first.learn("more", ASKED, OUTCOME)
    assert known(second) == known(second, "more") == OUTCOME


def test_a_worker_that_cannot_write_grades_on(files, monkeypatch):
    first, second = worker(files, 0), worker(files, 1)
    monkeypatch.setattr(os, "pwrite", lambda _, data, __: len(data) // 2)  # the disk is full
    first.learn("test", ASKED, OUTCOME)
    monkeypatch.undo()
    first.learn("more", ASKED, OUTCOME)  # nothing goes behind a record that is not whole
    assert known(first) == known(first, "more") == OUTCOME
    assert known(second) is known(second, "more") is None


def test_all_is_forgotten_when_it_is_too_much(monkeypatch):
    one = Memory()
    one.learn("test", ASKED, OUTCOME)
    monkeypatch.setattr(memory, "REMEMBERED", one.size - 1)
    assert known(one) is None
    assert one.size == 0


def test_a_memory_that_does_not_remember_runs_every_test_cell_anew(files):
    one = Memory("01", Shared(files, 0), remembers=False)
    one.learn("test", ASKED, OUTCOME)
    assert known(one) is None
    assert os.fstat(files[0]).st_size == 0


@pytest.mark.parametrize("left", [0, 10])
def test_a_worker_tells_the_others_no_more_than_its_share(files, left):
    first, second = worker(files, 0), worker(files, 1)
    first.shared.left = left
    first.learn("test", ASKED, OUTCOME)
    assert known(second) is None


def test_answers_larger_than_any_ordinary_ones_are_not_remembered(monkeypatch):
    one = Memory()
    monkeypatch.setattr(memory, "ORDINARY", sum(len(answer) for _, answer in ASKED) - 1)
    one.learn("test", ASKED, OUTCOME)
    assert known(one) is None


class Wire:
    """A connection whose other end has sent this."""

    def __init__(self, *messages):
        self.messages = [json.dumps(one, separators=(",", ":")).encode() for one in messages]

    def send_bytes(self, data, seconds):
        pass

    def receive_bytes(self, seconds):
        return self.messages.pop(0)


@pytest.mark.parametrize(
    "message",
    [{"return": [1, "n"], "n": 1}, {"n": 1, "return": 2}, {"n": 1}, {"return": ',"n":1}', "n": 1}],
    ids=str,
)
def test_an_answer_that_is_known_is_the_same_as_one_that_is_read(message):
    def answer(known):
        return Conversation(Wire(message), lambda: None, 60).ask('{"do": "get"}', 5, known)

    assert answer({}) == answer({answer({}): None})
    assert json.loads(answer({})) == {key: value for key, value in message.items() if key != "n"}


def test_an_answer_to_another_question_is_none_though_it_is_known():
    with pytest.raises(Tampering, match="not asked"):
        Conversation(Wire({"return": 1, "n": 2}), lambda: None, 60).ask("{}", 5, {b'{"return":1}'})


def test_a_submission_whose_time_is_up_is_asked_no_more_though_it_answers_at_once():
    with pytest.raises(Lost, match="0 s for all cells"):
        Conversation(Wire({"return": 1, "n": 1}), lambda: None, 0).ask("{}", 5)


def test_a_submission_puts_out_no_more_than_may_be_handed_in(monkeypatch):
    monkeypatch.setattr(conversation, "ANSWERED", 40)
    talk = Conversation(Wire({"return": "x" * 20, "n": 1}, {"return": 2, "n": 2}), lambda: None, 60)
    assert talk.ask("{}", 5)
    with pytest.raises(Lost, match="more than"):
        talk.ask("{}", 5)
