"""How many world switches a second the model simulates, trace on, and what importing it costs.

    python benchmarks/world_switch.py [--repeat N]

A world switch is host, guest, host: one entry, the guest, one exit, with the kernel around them.  A period
is a switch that goes on to user space: the host saved, the switch, the host restored, user space and back.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from tabulate import tabulate

from svmlib.kvm import Host, exits
from svmlib.kvm.machine import Machine
from svmlib.paths import PATHS

#: Exits in one timed run: few enough that the trace stays in cache, as in a check.
LENGTH = 200


def rate(path: Any, kind: str) -> float:
    """Return the exits of `kind` a second in one run on a fresh machine."""
    machine = Machine(path, Host(seed=1))
    machine.run(exits("kernel" if kind == "kernel" else "user"))
    through = exits(*[kind] * LENGTH)
    start = time.perf_counter()
    machine.run(through)
    return LENGTH / (time.perf_counter() - start)


def spread(measure: Callable[[], float], repeat: int) -> tuple[float, float]:
    """Return median and best of `repeat` measurements."""
    values = [measure() for _ in range(repeat)]
    return statistics.median(values), max(values)


def import_ms(module: str) -> float:
    """Return the milliseconds that importing `module` adds to a bare Python, both measured inside it."""
    code = f"import time; t = time.perf_counter(); import {module}; print((time.perf_counter() - t) * 1e3)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=25, help="runs of each measurement (default 25)")
    repeat = parser.parse_args().repeat
    rows = []
    for name, path in PATHS.items():
        switch, best = spread(lambda p=path: rate(p, "kernel"), repeat)
        period, best_period = spread(lambda p=path: rate(p, "user"), repeat)
        rows.append([name, switch, best, period, best_period])
    print(tabulate(rows, ["path", "switches/s", "best", "periods/s", "best"], floatfmt=",.0f"))
    print()
    modules = ["svmlib", "svmlib.kvm", "svmlib.paths", "svmlib.costs"]
    found = [[module, statistics.median(import_ms(module) for _ in range(repeat))] for module in modules]
    print(tabulate(found, ["import", "median ms"], floatfmt=".1f"))


if __name__ == "__main__":
    main()
