"""A command's progress bar: seen while it works, and never left in front of what is told then."""

import io
import sys
from pathlib import Path

import pytest

from autograder.bar import bar

AUTOGRADER = Path(__file__).parents[1] / "autograder"


class Terminal(io.StringIO):
    """Where somebody watches."""

    def isatty(self):
        return True


def shown(line):
    """A line of a terminal: behind a carriage return the next words are written over the last."""
    left = ""
    for part in line.split("\r"):
        left = part + left[len(part) :]
    return left.rstrip()


def stumble():
    with bar("reading", "file", range(3)) as files:
        for number in files:
            if number == 1:
                raise ValueError("the second is missing")


@pytest.mark.parametrize("terminal", [Terminal(), io.StringIO()], ids=["watched", "not watched"])
def test_a_bar_is_gone_before_an_error_is_told(monkeypatch, terminal):
    monkeypatch.setattr(sys, "stderr", terminal)
    with pytest.raises(ValueError, match="the second is missing") as caught:
        stumble()
    print(caught.value, file=sys.stderr)
    said = terminal.getvalue()
    assert ("reading:   0%" in said) == terminal.isatty()
    assert [shown(line) for line in said.split("\n")] == ["the second is missing", ""]


def test_the_commands_have_no_other_bar():
    users = [path.name for path in AUTOGRADER.rglob("*.py") if "tqdm" in path.read_text("utf-8")]
    assert users == ["bar.py"]
