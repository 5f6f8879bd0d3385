"""How many operations a second are compared: generated, run on emulator and model, held side by side.

    python benchmarks/fuzz.py [--sequences N] [--repeat N]

Python and the emulator run at the same time.  On a busy machine look at the processor time that each takes.
An emulator that is not there is named and left out.
"""

import argparse
import os

from tabulate import tabulate

from svmlib.emulators.fuzz import ENGINES, fuzz
from svmlib.emulators.generator import Generator
from svmlib.emulators.outcomes import EmulatorError

#: Operations a program, and the share of world switches among them, as in the tests.
LENGTH, VMRUN = 30, 0.05


def cpu() -> list[float]:
    """Return the processor time that Python and its children have taken so far, in seconds."""
    times = os.times()
    return [times.user + times.system, times.children_user + times.children_system]


def rates(name: str, sequences: int, repeat: int) -> tuple[list[float], list[float]]:
    """Return compared operations a second, run by run; Python's and the emulator's microseconds for each."""
    found = []
    operations, before = 0, cpu()
    for seed in range(repeat):
        report = fuzz(ENGINES[name], Generator(seed, vmrun=VMRUN), sequences, LENGTH)
        found.append(report.operations / report.seconds)
        operations += report.operations
    taken = [1e6 * (now - then) / operations for now, then in zip(cpu(), before, strict=True)]
    return sorted(found), taken


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sequences", type=int, default=3000, help="programs a run (default 3000)")
    parser.add_argument("--repeat", type=int, default=5, help="runs of each emulator (default 5)")
    options = parser.parse_args()
    rows = []
    for name in ENGINES:
        try:
            found, taken = rates(name, options.sequences, options.repeat)
        except EmulatorError as error:
            print(error)
            continue
        middle, best = found[len(found) // 2], found[-1]
        rows.append((name, f"{middle:,.0f}", f"{best:,.0f}", *(f"{part:.1f}" for part in taken)))
    heads = ("emulator", "operations/s, median", "best", "CPU us/operation: Python", "emulator")
    print(tabulate(rows, heads, disable_numparse=True))


if __name__ == "__main__":
    main()
