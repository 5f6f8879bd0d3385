"""Notebook files as no Jupyter would write them: a good one, with up to four things done to it.

`mutant(data, seed)` is the same for the same seed. The kinds: the file's bytes, any value anywhere in the
JSON, the cells, their parts, what nbgrader keeps with a cell, the text of a cell, the notebook's version and
metadata.
"""

import copy
import json
from random import Random

#: Stands in the JSON for what Python's own writer does not write: nested very deeply, or a very long number.
HUGE = "huge"
#: What is put in the place of a value: other kinds, other sizes, text that no encoding has.
STRANGE = (
    None, True, 0, -1, 1.5, 1e308, float("nan"), float("inf"), 10**400, "", "\0", "\ud800", "﷽" * 9,
    "../../x", "<script>1</script>", "a" * 10_000, [], [[]], {}, {"": {}}, [None], ["a", 1], {"nbformat": 4},
)  # fmt: skip
#: What is put into the text of a cell. Nothing of it runs for long: the clock is tested elsewhere.
PIECES = (
    "\n", "    ", "\t", "\0", "\ufeff", "\u2028", "(", ")", '"""', "'", "\\", "#", ":", "=", "?", "{{ 1 }}",
    "%%bash\n", "%time ", "!true\n", "await ", "return ", "yield ", "global a\n", "1/0\n", "del check\n",
    "raise SystemExit\n", "raise KeyboardInterrupt\n", "exit()\n", "import nothing\n", "def f(: pass\n",
    "### BEGIN SOLUTION\n", "### END HIDDEN TESTS\n", "print('\ud800')\n", "𝔁 = 1\n", "lambda: 0\n",
    "from __future__ import annotations\n", "x" * 5_000, "(" * 300, "-" * 3_000 + "1\n",
)  # fmt: skip


def mutant(data: bytes, seed: int) -> bytes:
    """A notebook's bytes with something done to them."""
    random = Random(seed)
    tree = json.loads(data)
    for _ in range(random.randint(1, 3)):
        random.choice(ON_TREES)(tree, random)
    text = json.dumps(tree, ensure_ascii=random.random() < 0.5, indent=random.choice((None, 1)))
    depth = random.choice((45, 300, 3_000, 100_000))
    huge = random.choice(('[{"a":' * depth + "0" + "}]" * depth, "9" * 5_000))
    text = text.replace(json.dumps(HUGE), huge)
    data = text.encode("utf-8", "surrogatepass")
    return random.choice(ON_BYTES)(data, random) if random.random() < 0.2 else data


def _value(tree, random):
    """Anything anywhere is something else, or not there, or there under another key."""
    places = list(_places(tree))
    if not places:
        return
    holder, key = random.choice(places)
    match random.randrange(5):
        case 0:
            del holder[key]
        case 1:
            other, place = random.choice(places)
            holder[key] = copy.deepcopy(other[place])
        case 2 if isinstance(holder, dict):
            holder[random.choice(("nbgrader", "cells", "source", "id", "é", ""))] = holder.pop(key)
        case 3:
            holder[key] = [holder[key]]
        case _:
            holder[key] = random.choice(STRANGE)


def _places(tree):
    """Every value below a tree: what holds it, and under which key."""
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
        yield tree, key
        if isinstance(tree[key], dict | list):
            yield from _places(tree[key])


def _huge(tree, random):
    """Something is nested far deeper than anybody reads, or has far more digits."""
    places = list(_places(tree))
    if places:
        holder, key = random.choice(places)
        holder[key] = HUGE


def _cells(tree, random):
    """Cells are taken out, doubled, moved, emptied, of another kind; there are none, or very many."""
    cells = tree.get("cells")
    if not isinstance(cells, list) or not cells:
        return
    place = random.randrange(len(cells))
    cell = cells[place]
    match random.randrange(9):
        case 0:
            cells.pop(place)
        case 1:
            cells.insert(random.randrange(len(cells) + 1), copy.deepcopy(cell))
        case 2:
            cells.insert(random.randrange(len(cells)), cells.pop(place))
        case 3:
            random.shuffle(cells)
        case 4:
            cells.clear()
        case 5:
            cells.extend(copy.deepcopy(cells) * random.choice((1, 5)))
        case 6 if isinstance(cell, dict):
            cell["cell_type"] = random.choice(("code", "markdown", "raw", "heading", "Code"))
        case 7:
            cells[place] = random.choice(STRANGE)
        case _ if isinstance(cell, dict):
            cell["source"] = random.choice(("", [], "pass", ["a\n", "b"]))


def _parts(tree, random):
    """A cell has outputs, pictures, a number, or a word of our own that it should not have."""
    cells = _dicts(tree.get("cells"))
    if not cells:
        return
    cell = random.choice(cells)
    match random.randrange(4):
        case 0:
            data = random.choice((*STRANGE, {"image/png": random.choice(STRANGE)}))
            cell["attachments"] = {random.choice(("a.png", "", "../x")): data}
        case 1:
            kind = random.choice(("stream", "error", "display_data", "execute_result", "x"))
            cell["outputs"] = [{"output_type": kind, "data": random.choice(STRANGE), "name": "stdout"}]
        case 2:
            cell["execution_count"] = random.choice(STRANGE)
        case _:
            cell[random.choice(("role", "of", "points", "attachments"))] = random.choice(STRANGE)


def _metadata(tree, random):
    """What nbgrader keeps with a cell: exchanged, forged, of another schema, of another kind."""
    cells = [cell for cell in _dicts(tree.get("cells")) if isinstance(cell.get("metadata"), dict)]
    marked = [cell["metadata"] for cell in cells if isinstance(cell["metadata"].get("nbgrader"), dict)]
    if not marked:
        return
    one, other = random.choice(marked), random.choice(marked)
    match random.randrange(6):
        case 0:
            one["nbgrader"], other["nbgrader"] = other["nbgrader"], one["nbgrader"]
        case 1:
            flag = random.choice(("grade", "solution", "locked", "task"))
            one["nbgrader"][flag] = random.choice((True, False, None, "yes"))
        case 2:
            one["nbgrader"]["points"] = random.choice((-1, 0, 1e9, float("nan"), "2", None))
        case 3:
            name = random.choice(("triple", "test_triple", "nothing", "", 7, "../up", "a" * 999))
            one["nbgrader"]["grade_id"] = name
        case 4:
            one["nbgrader"]["schema_version"] = random.choice((0, 1, 2, 99, "3", None))
        case _:
            one["nbgrader"] = random.choice(STRANGE)


def _text(tree, random):
    """The text of a cell has something in it, or lacks a line, or a line stands elsewhere."""
    cells = [cell for cell in _dicts(tree.get("cells")) if isinstance(cell.get("source"), str | list)]
    if not cells:
        return
    cell = random.choice(cells)
    try:
        text = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
    except TypeError:
        return
    lines = text.splitlines(keepends=True)
    match random.randrange(4):
        case 0 if lines:
            lines.pop(random.randrange(len(lines)))
        case 1 if lines:
            lines.insert(random.randrange(len(lines) + 1), random.choice(lines))
        case 2:
            random.shuffle(lines)
        case _:
            place = random.randrange(len(text) + 1)
            lines = [text[:place] + random.choice(PIECES) + text[place:]]
    cell["source"] = "".join(lines) if random.random() < 0.5 else lines


def _notebook(tree, random):
    """The version, the kernel, the language: another one, or none."""
    match random.randrange(4):
        case 0:
            tree["nbformat"] = random.choice((0, 2, 3, 4, 5, 99, "4", None, 4.0))
        case 1:
            tree["nbformat_minor"] = random.choice((0, 4, 5, 99, -1, "5", None))
        case 2:
            tree["metadata"] = random.choice((*STRANGE, {"kernelspec": {"name": "ir"}}, {"widgets": 1}))
        case _:
            tree["cells"], tree["worksheets"] = [], [{"cells": tree.get("cells", [])}]


def _dicts(value):
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _cut(data, random):
    """The end, the middle or everything is missing."""
    first, last = sorted(random.randrange(len(data) + 1) for _ in range(2))
    return random.choice((data[:first], data[:first] + data[last:], b"", b" \n"))


def _flipped(data, random):
    """Some bytes are others."""
    data = bytearray(data)
    for _ in range(random.choice((1, 8, 64))):
        data[random.randrange(len(data))] = random.randrange(256)
    return bytes(data)


def _encoded(data, random):
    """It is in another encoding, or says something before it begins, or is two of them."""
    text = data.decode("utf-8", "replace")
    return random.choice(
        (
            b"\xef\xbb\xbf" + data,
            text.encode("utf-16"),
            text.encode("latin-1", "replace"),
            data * 2,
            b"\0" + data,
        )
    )


def _other(_data, random):
    """It is no notebook at all."""
    return random.choice(
        (b"{}", b"[]", b"null", b"4", b'"cells"', b"[" * 100_000, b"PK\3\4\0\0", b"<html></html>")
    )


ON_TREES = (
    _value,
    _value,
    _huge,
    _cells,
    _cells,
    _parts,
    _metadata,
    _metadata,
    _text,
    _text,
    _text,
    _notebook,
)
ON_BYTES = (_cut, _flipped, _encoded, _other)
