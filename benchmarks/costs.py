"""How long pricing takes: a million exits on all paths, a sweep over mixes, and what the time depends on.

    python benchmarks/costs.py [--repeat N]

One core: numpy's threads are held at one.  Times are medians; memory is the process's peak.
"""

import argparse
import os
import resource
import statistics
import time
from collections.abc import Callable
from random import Random

# Before numpy is imported, or it does not look.
for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

from tabulate import tabulate  # noqa: E402

from svmlib import decide  # noqa: E402
from svmlib.costs import Mix, Terms, cache, chance, exit_costs, prices  # noqa: E402
from svmlib.costs.prices import Ticks  # noqa: E402

EXITS, DRAWS, MIXES = 1_000_000, 10_000, 1_000
SHARE = 0.06


def priced(exits: int, draws: int, terms: Terms = decide.TERMS) -> Callable[[], object]:
    """Return what prices `exits` of a mix on all paths with `draws` draws, from the steps on."""
    rate = Ticks(exits, exits, exits)
    mix = Mix("benchmark", "exits in a second", Ticks(SHARE, SHARE, SHARE), rate)
    return lambda: decide.decide(chosen=[mix], draws=draws, terms=terms, steps=STEPS)


def sweep() -> object:
    """Price 1,000 mixes on all paths with 10,000 draws each."""
    paths = [exit_costs(name, kinds, prices(decide.PRICES)) for name, kinds in STEPS.items()]
    return chance.sweep(paths, [n / (MIXES - 1) for n in range(MIXES)], chance.draws_for(paths, DRAWS))


def replayed() -> object:
    """Replay a sequence of a million exits, its cache carried along, on one path."""
    path = exit_costs("lazy", STEPS["lazy"], prices(decide.PRICES), Terms(cache=cache.usual()))
    return path.replay(WORDS)


def seconds(work: Callable[[], object], repeat: int) -> float:
    """Return the median time of `repeat` runs."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="runs of each (5)")
    repeat = parser.parse_args().repeat
    cold = decide.TERMS._replace(cache=cache.usual())
    body = [
        ("a million exits, all paths, 10,000 draws", "under 1 s", seconds(priced(EXITS, DRAWS), repeat)),
        ("the same with a cache carried along", "", seconds(priced(EXITS, DRAWS, cold), repeat)),
        ("a thousand exits", "the same", seconds(priced(1_000, DRAWS), repeat)),
        ("a billion exits", "the same", seconds(priced(10**9, DRAWS), repeat)),
        ("a million exits, 20,000 draws", "twice", seconds(priced(EXITS, 2 * DRAWS), repeat)),
        ("a million exits, 40,000 draws", "four times", seconds(priced(EXITS, 4 * DRAWS), repeat)),
        (
            f"{MIXES:,} mixes, {len(STEPS)} paths, 10,000 draws",
            "under 5 s",
            seconds(sweep, max(1, repeat // 2)),
        ),
        (
            "a sequence of a million exits, replayed with its cache",
            "",
            seconds(replayed, max(1, repeat // 2)),
        ),
    ]
    print(
        tabulate([(what, goal, f"{time:.3f} s") for what, goal, time in body], headers=("", "goal", "median"))
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak:,.0f} MiB (goal: under 1,024)")


if __name__ == "__main__":
    STEPS = decide.typical()
    random = Random(1)
    WORDS = ["user" if random.random() < SHARE else "kernel" for _ in range(EXITS)]
    main()
