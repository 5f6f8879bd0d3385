"""A cell runs in the judge's shell as it does in IPython's own."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.inputtransformer2 import MagicAssign, TransformerManager

from autograder import notebooks
from autograder.student import shell

ROOT = notebooks.ROOT
ODD = (
    "%pwd",
    "files = !ls",
    "home = %env HOME",
    "%%timeit\npass",
    "print?",
    'said = """what?\n   \n%pwd\n!ls"""  # and what?',
    "In [1]: x = 1\nIn [2]: y = 2",
    "In[1]: int = 1",
    ">>> x = 1\n>>> y = 2",
    "    indented = 1\n    too = 2",
    "\n\n  \nx = 1",
    "x = 7 \\\n  % 4",
    "x = (1\n, 2)\n/ 3",
    "await something()",
    "x = 1\n\x00",
    "x = '\\d'",
    "",
    "(" * 300,
)
PIECES = [*"a= %!?/,;()#1", "\n", "'", "\\", "'''", "In [1]: ", ">>> "]


def ours(source):
    return shell._Transformers().transform_cell(source)


def ipythons(source):
    return TransformerManager().transform_cell(source)


def cells():
    for path in sorted([*(ROOT / "course").rglob("*.ipynb"), *(ROOT / "exercises").rglob("*.ipynb")]):
        for cell in json.loads(path.read_text("utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                yield "".join(cell["source"])


def test_the_courses_cells_are_read_as_ipython_reads_them():
    found = list(cells())
    assert len(found) > 100
    for source in found:
        assert ours(source) == ipythons(source)


@pytest.mark.parametrize("source", ODD)
def test_an_odd_cell_is_read_as_ipython_reads_it(source):
    assert ours(source) == ipythons(source)


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_whatever_is_typed_is_read_as_ipython_reads_it(source):
    assert ours(source) == ipythons(source)


def test_a_notebook_may_add_syntax_of_its_own():
    class Shout(MagicAssign):
        @classmethod
        def find(cls, tokens_by_line):
            first = tokens_by_line[0][0]
            return cls(first.start) if first.string == "shout" else None

        def transform(self, lines):
            return [lines[0].replace("shout", "print", 1), *lines[1:]]

    manager = shell._Transformers()
    manager.token_transformers.append(Shout)
    assert manager.transform_cell("shout") == "print\n"


def test_python_is_not_read_token_by_token(monkeypatch):
    monkeypatch.setattr(TransformerManager, "do_token_transforms", None)
    assert ours("x = 1\nx") == "x = 1\nx\n"
    with pytest.raises(TypeError):
        ours("%pwd")
