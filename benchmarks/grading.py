"""Grading measured: stock nbgrader and the judge on the same submissions, marks compared, then up to 10,000.

    python benchmarks/grading.py                 100 submissions by both, then 100 to 10,000 by the judge
    python benchmarks/grading.py --no-stock      the judge alone
    python benchmarks/grading.py --most 1000     a shorter way; 0: no curve
    python benchmarks/grading.py --exercise 04_the_gif_window

The class is made of the sample class's answers, each a design of its own, right or wrong, as other learners
would write them: every text is another, and in two of five submissions some function does something else.
How many test cells were answered from memory is printed, and the rate without memory, which is that of a
class in which no two answers do the same.  Of the large classes one in ten is hostile or broken.

Stock is nbgrader's own execution and marking with a fresh kernel for each submission, in one process, as its
autograde does, without its database: that flatters it.  A steady rate is taken from the first verdict to the
last.  Seconds are the wall clock's; the judge's runs stand around stock's one, and their median counts; a
quiet machine helps.
"""

import argparse
import ast
import contextlib
import itertools
import json
import os
import random
import resource
import tempfile
import time
from pathlib import Path
from statistics import median

from tqdm import tqdm

from autograder import engine, judge, notebooks, sample

ROOT = Path(__file__).resolve().parents[1]
SEED = "20201214"
#: Answers that end a process or wait for the clock are for the attack suite; these are learners'.
LEFT_OUT = {"endless_cell", "truncated", "blank"}
#: How often the judge grades the class before stock does, and after.
REPEATS = 5
#: What becomes of a function in other hands: in 8 of 100 two statements change places, in 4 one is
#: missing, in 3 one comes twice; in the rest only names and notes differ.
SWAPPED, MISSING, TWICE = 0.08, 0.12, 0.15
WORDS = ("my", "the", "old", "host", "saved", "kept", "tmp", "x")
NOTES = (
    "mine",
    "as in the lesson",
    "second try",
    "order matters here",
    "see the picture above",
    "works for me",
)


def release(scripts):
    return judge.Release(
        {script.stem: SEED for script in scripts},
        {script.stem: notebooks.source(script) for script in scripts},
        {script.stem: notebooks.exercise(script) for script in scripts},
    )


def answers(scripts, exercise):
    """The sample class's files of one exercise."""
    script = next(script for script in scripts if script.stem == exercise)
    with tempfile.TemporaryDirectory() as folder:
        for one in sample.read_all():
            if one.exercise == exercise and one.student not in LEFT_OUT and "damage" not in one.says:
                sample.hand_in(one, Path(folder), script)
                yield (Path(folder) / one.student / exercise / f"{exercise}.ipynb").read_text("utf-8")


def class_of(folder, count, texts, exercise, broken=0.0):
    """`count` files: answers in turn, each as another learner would have it; some broken or hostile."""
    draw = random.Random(count)
    turn = itertools.cycle(texts)
    for number in range(count):
        text = next(turn)
        if number >= len(texts):
            text = varied(text, draw)
        text = text.replace('"nbformat": 4,', f'"note": "student {number}",\n "nbformat": 4,')
        if draw.random() < broken:
            text = draw.choice(
                (
                    text[: len(text) // 2],
                    "",
                    text.replace("return", "while True: pass; return", 1),
                    text.replace("cpu.wrmsr", "__import__('os')._exit"),
                    text.replace("vcpu.", "vcpu._"),
                )
            )
        path = Path(folder, f"s{number:05}.ipynb")
        path.write_text(text, "utf-8")
        yield judge.Submission(path.stem, exercise, path)


def varied(text, draw):
    """An answer with other names, notes and order; now and then a statement is missing, or comes twice."""
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("solution") and cell["cell_type"] == "code":
            with contextlib.suppress(SyntaxError):
                tree = ast.parse("".join(cell["source"]))
                for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
                    rewrite(function, draw)
                cell["source"] = f"# {draw.choice(NOTES)}\n{ast.unparse(tree)}\n"
    return json.dumps(notebook, indent=1)


def rewrite(function, draw):
    """Change a function as learners' answers differ; what comes of it may be right or wrong."""
    used = [node for node in ast.walk(function) if isinstance(node, ast.Name)]
    mine = sorted({node.id for node in used if not isinstance(node.ctx, ast.Load)})
    names = {name: f"{draw.choice(WORDS)}_{name}" for name in mine}
    for node in used:
        node.id = names.get(node.id, node.id)
    blocks = [
        node.body
        for node in ast.walk(function)
        if getattr(node, "body", None) and isinstance(node.body, list)
    ]
    block = draw.choice(blocks)
    at, kind = draw.randrange(len(block)), draw.random()
    if kind < SWAPPED and at:
        block[at - 1], block[at] = block[at], block[at - 1]
    elif kind < MISSING and len(block) > 1:
        del block[at]
    elif kind < TWICE:
        block.insert(at, block[at])


def family(pid):
    """A process and all that it started."""
    yield pid
    children = []
    for place in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            children += place.read_text("ascii").split()
    for child in children:
        yield from family(int(child))


def memory():
    """Bytes that this process and all below it hold together, shared ones counted once; Linux alone tells."""
    total = 0
    for pid in family(os.getpid()):
        with contextlib.suppress(OSError, ValueError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
            total += sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
    return total


class Graded:
    """Submissions graded: verdicts, seconds in all and from the first verdict to the last, peak memory."""

    def __init__(self, frozen, submissions, options, label):
        began, first, self.peak = time.perf_counter(), 0.0, 0
        self.verdicts = {}
        with tqdm(total=len(submissions), desc=label, unit="submission", leave=False) as bar:
            for verdict in engine.grade(frozen, submissions, options):
                first = first or time.perf_counter()
                self.verdicts[verdict.student] = verdict._replace(notebook="", feedback="")
                bar.update()
                if len(self.verdicts) % 50 == 1:
                    self.peak = max(self.peak, memory())
        ended = time.perf_counter()
        self.seconds = ended - began
        self.rate = (len(submissions) - 1) / max(ended - first, 0.001)
        cells = sum(verdict.status == "graded" for verdict in self.verdicts.values())
        tests = sum(not mark.by_hand for mark in next(iter(self.verdicts.values())).marks.values())
        self.share = sum(v.remembered for v in self.verdicts.values()) / max(1, cells * tests)

    def count(self, word):
        """How many submissions ended so."""
        return sum(verdict.status == word for verdict in self.verdicts.values())

    def __str__(self):
        return (
            f"{self.seconds:6.1f} s start to end, {self.rate:6.1f} a second steady, "
            f"{self.share:4.0%} of test cells from memory, {self.peak >> 20} MB at most"
        )


def points(verdict):
    return {name: mark.points for name, mark in verdict.marks.items()}


def compare(frozen, submissions, by_stock):
    """Grade by the judge, with memory and without, and by stock; compare times and marks.

    The judge takes seconds and stock minutes, so its runs stand before stock's and after: the median counts.
    """
    options = engine.Options(workers=2)
    runs = [Graded(frozen, submissions, options, "judge") for _ in range(REPEATS)]
    ours = runs[0]
    count = len(submissions)
    instructions = sum(verdict.instructions for verdict in ours.verdicts.values()) / count
    questions = sum(verdict.questions for verdict in ours.verdicts.values()) / count
    print(f"each submission: {instructions:,.0f} instructions, {questions:.0f} questions")
    print(f"without memory: {Graded(frozen, submissions, options._replace(remember=False), 'anew')}")
    if by_stock:
        theirs = Graded(frozen, submissions, engine.Options(workers=1, kernel=True), "stock")
        print(f"stock:          {theirs.seconds:6.1f} s start to end, {theirs.rate:6.2f} a second steady")
        runs += [Graded(frozen, submissions, options, "judge") for _ in range(REPEATS)]
    for run in sorted(runs, key=lambda run: run.rate):
        print(f"judge:          {run}")
    if by_stock:
        alike = sum(points(ours.verdicts[name]) == points(other) for name, other in theirs.verdicts.items())
        times = median(run.rate for run in runs) / theirs.rate
        print(
            f"The median of the judge's steady rates is {times:.0f} times stock's; "
            f"marks of {alike} of {count} submissions alike, row by row."
        )


def curve(frozen, texts, exercise, most):
    """Grade larger and larger classes, one in ten broken or hostile."""
    print("  size    seconds   ms each   from memory   failed  tampered  peak MB")
    hurried = engine.Options(workers=2, cell_seconds=2, question_seconds=1, submission_seconds=10)
    for size in [size for size in (100, 300, 1000, 3000, 10_000) if size <= most]:
        with tempfile.TemporaryDirectory() as folder:
            submissions = list(class_of(folder, size, texts, exercise, broken=0.1))
            found = Graded(frozen, submissions, hurried, str(size))
        assert len(found.verdicts) == size
        print(
            f"{size:6} {found.seconds:10.1f} {1000 * found.seconds / size:9.2f} {found.share:13.0%} "
            f"{found.count('failed'):8} {found.count('tampered'):9} {found.peak >> 20:8}"
        )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--no-stock", action="store_true", help="leave stock nbgrader out")
    parser.add_argument("--exercise", default="02_vmsave_vmload_path", help="the exercise that is graded")
    parser.add_argument("--most", type=int, default=10_000, help="the largest class")
    arguments = parser.parse_args()
    scripts = notebooks.scripts(ROOT / "solutions")
    if arguments.exercise not in (names := [script.stem for script in scripts]):
        parser.error(f"there is no exercise {arguments.exercise}; there are {', '.join(names)}")
    frozen = release([script for script in scripts if script.stem == arguments.exercise])
    texts = list(answers(scripts, arguments.exercise))
    for layer in engine.layers():
        print(f"layer  {layer.name:12} {'on' if layer.taken else 'OFF'}  {layer.why}")
    print(f"{arguments.exercise}: 100 submissions of {len(texts)} designs, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        compare(frozen, list(class_of(folder, 100, texts, arguments.exercise)), not arguments.no_stock)
    curve(frozen, texts, arguments.exercise, arguments.most)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"processor time: {usage.ru_utime + usage.ru_stime:.0f} s in all")


if __name__ == "__main__":
    main()
