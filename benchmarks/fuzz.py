"""How many operations a second are compared: generated, run on emulator and model, held side by side.

    python benchmarks/fuzz.py [--sequences N] [--repeat N]

An emulator that is not there is named and left out.
"""

import argparse

from tabulate import tabulate

from svmlib.emulators.fuzz import ENGINES, fuzz
from svmlib.emulators.generator import Generator
from svmlib.emulators.outcomes import EmulatorError

#: Operations a program, and the share of world switches among them, as in the tests.
LENGTH, VMRUN = 30, 0.05


def rates(name: str, sequences: int, repeat: int) -> list[float]:
    """Return compared operations a second, run by run."""
    found = []
    for seed in range(repeat):
        report = fuzz(ENGINES[name], Generator(seed, vmrun=VMRUN), sequences, LENGTH)
        found.append(report.operations / report.seconds)
    return found


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
            found = sorted(rates(name, options.sequences, options.repeat))
        except EmulatorError as error:
            print(error)
            continue
        rows.append((name, f"{found[len(found) // 2]:,.0f}", f"{found[-1]:,.0f}"))
    print(tabulate(rows, ("emulator", "operations/s, median", "best"), disable_numparse=True))


if __name__ == "__main__":
    main()
