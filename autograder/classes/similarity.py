"""Who wrote what others wrote: a reason to look, never a mark.

Right answers to a small exercise look alike, so likeness alone says nothing. What counts here is what is left
when the lines of the release and of the reference are gone, and of that the lines that hardly anybody else in
the class has: a shared mistake, an odd choice. Each pair is shown beside the class's base rate, which is how
alike two of the class are by chance.

Lines are compared as Pygments' tokens without comments and spacing, with the learner's own variables made
one; texts by RapidFuzz's ratio.
"""

import ast
import json
import math
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import combinations
from random import Random
from typing import Any, NamedTuple

from pygments.lexers import PythonLexer
from pygments.token import Comment, Literal, Name, Text, Token
from rapidfuzz import fuzz

RARE = 0.02  # of the class, but three students at least: a line that no more have is rare
SAMPLE = 20_000  # pairs that the base rate is taken from
MOST = 20  # pairs that are shown for an exercise
SURPRISING = 8  # bits: two lines that one in sixteen of the class has
SHORTEST = 3  # tokens; shorter lines say nothing
Cell = dict[str, Any]


class Pair(NamedTuple):
    """Two submissions, how alike what they wrote themselves is, and what they alone share."""

    first: str
    second: str
    ratio: float
    #: The share of the class's pairs that are at least as alike by that ratio.
    as_alike: float
    #: The lines that both have and hardly anybody else, each with how many have it.
    shared: tuple[tuple[str, int], ...]
    #: How surprising it is to share these, in bits.
    bits: float

    @property
    def flagged(self) -> bool:
        """Whether somebody should look: more than one line in common that hardly anybody else has."""
        return len(self.shared) >= 2 and self.bits >= SURPRISING


class Likeness(NamedTuple):
    """An exercise's pairs that share something rare, the most surprising first, and the class's base rate."""

    pairs: list[Pair]
    compared: int
    median: float
    high: float


class Own(NamedTuple):
    """What one learner wrote: each line as it is compared, and as it stands in the notebook."""

    lines: dict[str, str]

    @property
    def text(self) -> str:
        """All of it, for the ratio."""
        return "\n".join(self.lines)


def written(notebook: bytes, cells: Mapping[str, str]) -> dict[str, str]:
    """A learner's cells for an answer, by grade id; empty where the notebook cannot be read."""
    try:
        tree = json.loads(notebook)
        found = {}
        for cell in tree["cells"]:
            name = cell.get("metadata", {}).get("nbgrader", {}).get("grade_id") or cell.get("id")
            source = cell.get("source", "")
            if name in cells:
                found[str(name)] = source if isinstance(source, str) else "".join(source)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return {}
    return found


def own(notebook: bytes, given: Mapping[str, str], known: frozenset[str]) -> Own:
    """The lines that are the learner's: those of the cells for an answer that are in no `known` text."""
    lines: dict[str, str] = {}
    for source in written(notebook, given).values():
        for compared, line in normal(source):
            if compared not in known:
                lines.setdefault(compared, line)
    return Own(lines)


@cache
def _lexer() -> PythonLexer:
    return PythonLexer()


def normal(source: str) -> list[tuple[str, str]]:
    """Each line of a cell as it is compared, and as it stands; lines of a few tokens are left out."""
    variables = _variables(source)
    lines: list[tuple[str, str]] = []
    tokens: list[str] = []
    texts = iter(source.split("\n"))
    for kind, text in [*_lexer().get_tokens(source), (Token.Text, "\n")]:
        if "\n" in text and kind not in Literal.String:
            line = next(texts, "")
            if len(tokens) >= SHORTEST:
                lines.append((" ".join(tokens), line.strip()))
            tokens = []
            for _ in range(text.count("\n") - 1):
                next(texts, "")
        elif kind in Comment or (kind in Text and not text.strip()):
            continue
        elif kind in Name and text in variables:
            tokens.append("_")
        elif text.strip():
            tokens.append(text.strip().casefold() if kind in Text or kind in Literal.String.Doc else text)
    return lines


def _variables(source: str) -> set[str]:
    """The names that the text itself makes, parameters aside: what is renamed first by whoever copies."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    stored = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return stored - {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}


def compare(written: Mapping[str, Own], seed: int = 1) -> Likeness:
    """Compare all of one exercise that share a rare line; the base rate is of random pairs."""
    count = len(written)
    having: dict[str, list[str]] = {}
    for student, one in sorted(written.items()):
        for line in one.lines:
            having.setdefault(line, []).append(student)
    rare = {line: who for line, who in having.items() if 2 <= len(who) <= max(3, round(RARE * count))}
    common: dict[tuple[str, str], list[str]] = {}
    for line, who in rare.items():
        for pair in combinations(who, 2):
            common.setdefault(pair, []).append(line)
    base = sorted(_base_rate(written, Random(seed)))
    pairs = []
    for (first, second), lines in common.items():
        ratio = fuzz.ratio(written[first].text, written[second].text)
        shared = tuple((written[first].lines[line], len(rare[line])) for line in lines)
        bits = sum(math.log2(count / len(rare[line])) for line in lines)
        pairs.append(Pair(first, second, ratio, _at_least(base, ratio), shared, bits))
    pairs.sort(key=lambda pair: (pair.flagged, pair.bits, pair.ratio), reverse=True)
    middle = base[len(base) // 2] if base else 0.0
    return Likeness(pairs[:MOST], len(base), middle, base[int(len(base) * 0.99)] if base else 0.0)


def _base_rate(written: Mapping[str, Own], random: Random) -> Iterator[float]:
    """How alike two of the class are: of all pairs, or of a sample."""
    texts = [one.text for _, one in sorted(written.items())]
    if len(texts) * (len(texts) - 1) // 2 <= SAMPLE:
        for first, second in combinations(texts, 2):
            yield fuzz.ratio(first, second)
        return
    for _ in range(SAMPLE):
        yield fuzz.ratio(*random.sample(texts, 2))


def _at_least(base: list[float], ratio: float) -> float:
    """The share of random pairs that are at least as alike."""
    from bisect import bisect_left

    return (len(base) - bisect_left(base, ratio)) / len(base) if base else 1.0


def lines_of(sources: list[str]) -> frozenset[str]:
    """The lines of texts that everybody has: the release's and the reference's."""
    return frozenset(compared for source in sources for compared, _ in normal(source))
