"""Grading measured: stock nbgrader and the judge on the same submissions, marks compared, then up to 10,000.

    python benchmarks/grading.py                 100 submissions by both, then 100 to 10,000 by the judge
    python benchmarks/grading.py --no-stock      the judge alone
    python benchmarks/grading.py --most 1000     a shorter way

The class is made of the sample class's answers: every submission is a copy of one of them with other
comments, names of variables untouched, as most of a class hands in one of a few designs.  Of the large
classes one in ten is an attack of tests/attacks or a broken file.  Times are wall-clock seconds of this
machine; `nice` and a quiet machine help.
"""

import argparse
import itertools
import os
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

import psutil
from tqdm import tqdm

from autograder import engine, judge, notebooks, sample

ROOT = Path(__file__).resolve().parents[1]
SEED = "20201214"
#: Answers that end a process or wait for the clock are for the attack suite; these are learners'.
LEFT_OUT = {"endless_cell", "truncated", "blank"}


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


def class_of(count, texts, exercise, broken=0.0):
    """`count` submissions: answers in turn, each marked as another's; a share of them broken or hostile."""
    draw = random.Random(count)
    turn = itertools.cycle(texts)
    for number in range(count):
        text = next(turn).replace('"nbformat": 4,', f'"note": "student {number}",\n "nbformat": 4,')
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
        yield judge.Submission(f"s{number:05}", exercise, text.encode())


class Peak:
    """The largest memory that this process and all its children held together, looked at now and then."""

    def __init__(self):
        self.peak = 0
        self.me = psutil.Process()

    def look(self):
        """Look now."""
        total = 0
        for process in [self.me, *self.me.children(recursive=True)]:
            try:
                total += (
                    process.memory_full_info().pss if sys.platform == "linux" else process.memory_info().rss
                )
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        self.peak = max(self.peak, total)


def judged(frozen, submissions, options, label):
    """Grade by the judge: verdicts, seconds in all and from the first verdict to the last, peak memory."""
    peak, verdicts, began, first = Peak(), {}, time.perf_counter(), 0.0
    with tqdm(total=len(submissions), desc=label, unit="submission", leave=False) as bar:
        for verdict in engine.grade(frozen, submissions, options):
            first = first or time.perf_counter()
            verdicts[verdict.student] = verdict
            bar.update()
            if len(verdicts) % 50 == 1:
                peak.look()
    ended = time.perf_counter()
    return verdicts, ended - began, ended - first, peak.peak


def stock(frozen, submissions):
    """Grade by stock kernels: one after the other by nbgrader's own execution, as its autograde does."""
    began = time.perf_counter()
    options = engine.Options(workers=1, kernel=True)
    with tqdm(total=len(submissions), desc="stock", unit="submission") as bar:
        verdicts = {}
        for verdict in engine.grade(frozen, submissions, options):
            verdicts[verdict.student] = verdict
            bar.update()
    return verdicts, time.perf_counter() - began


def points(verdict):
    return {name: mark.points for name, mark in verdict.marks.items()}


def compare(frozen, texts, exercise, count):
    submissions = list(class_of(count, texts, exercise))
    verdicts, whole, steady, peak = judged(frozen, submissions, engine.Options(workers=2), "judge")
    instructions = [verdict.instructions for verdict in verdicts.values()]
    questions = [verdict.questions for verdict in verdicts.values()]
    print(
        f"judge: {whole:6.1f} s start to end, {count / steady:6.1f} a second steady, {peak >> 20} MB at most"
    )
    print(
        f"       {sum(instructions) / count:,.0f} instructions, {sum(questions) / count:.0f} questions each"
    )
    return submissions, verdicts, steady / count


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--no-stock", action="store_true", help="leave stock nbgrader out")
    parser.add_argument("--exercise", default="02_vmsave_vmload_path", help="the exercise that is graded")
    parser.add_argument("--most", type=int, default=10_000, help="the largest class")
    arguments = parser.parse_args()
    scripts = notebooks.scripts(ROOT / "solutions")
    frozen = release([script for script in scripts if script.stem == arguments.exercise])
    texts = list(answers(scripts, arguments.exercise))
    for layer in engine.layers():
        print(f"layer  {layer.name:12} {'on' if layer.taken else 'OFF'}  {layer.why}")
    print(f"{arguments.exercise}: 100 submissions of {len(texts)} designs, {os.cpu_count()} cores")
    submissions, verdicts, each = compare(frozen, texts, arguments.exercise, 100)
    if not arguments.no_stock:
        theirs, seconds = stock(frozen, submissions)
        alike = sum(points(verdicts[name]) == points(other) for name, other in theirs.items())
        print(
            f"stock: {seconds:6.1f} s, {100 / seconds:6.2f} a second; "
            f"the judge is {seconds / 100 / each:.0f} times as fast"
        )
        print(f"marks: {alike} of {len(theirs)} submissions alike, row by row")
    print("size      seconds   ms each   failed  tampered  peak MB   (one in ten broken or hostile)")
    hurried = engine.Options(workers=2, cell_seconds=2, question_seconds=1, submission_seconds=10)
    for size in [size for size in (100, 300, 1000, 3000, 10_000) if size <= arguments.most]:
        batch = list(class_of(size, texts, arguments.exercise, broken=0.1))
        found, whole, _, peak = judged(frozen, batch, hurried, str(size))
        failed, tampered = (sum(v.status == word for v in found.values()) for word in ("failed", "tampered"))
        assert len(found) == size
        print(f"{size:6} {whole:10.1f} {1000 * whole / size:9.2f} {failed:8} {tampered:9} {peak >> 20:8}")
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"CPU: {usage.ru_utime + usage.ru_stime:.0f} s in all")


if __name__ == "__main__":
    main()
