"""How long an exploration takes as its bounds grow: states, schedules, instructions and processor time.

    python benchmarks/explorer.py [--path lazy] [--large]

The line that is to stay under ten seconds: bound 3 exits, one event anywhere, two CPUs, all CPU options.
"""

import argparse
import time

from tabulate import tabulate

from svmlib.explore import LINUX, find
from svmlib.explorer import Bounds, Exploration, explore
from svmlib.kvm import Host
from svmlib.kvm.hosts import HOSTS

#: What grows: exits a period, periods, events, migrations; CPUs and vCPUs.
ROWS = (
    (Bounds(1, 1, 0, 0), 1, 1),
    (Bounds(1, 1, 1, 0), 1, 1),
    (Bounds(2, 1, 1, 0), 2, 1),
    (Bounds(3, 1, 1, 0), 2, 1),
    (Bounds(3, 2, 0, 1), 2, 1),
    (Bounds(1, 2, 1, 1), 2, 1),
    (Bounds(2, 2, 1, 1), 2, 1),
    (Bounds(3, 2, 1, 1), 2, 1),
    (Bounds(1, 2, 1, 1), 2, 2),
)
LARGE = (
    (Bounds(2, 2, 1, 1), 2, 2),
    (Bounds(3, 2, 1, 1), 2, 2),
    (Bounds(2, 2, 2, 1), 2, 1),
    (Bounds(2, 3, 1, 1), 2, 1),
)
#: The promise: bound 3 exits, an event anywhere, two CPUs; in one period, and in two with a migration.
PROMISE = (
    Bounds(exits=3, periods=1, events=1, migrations=1),
    Bounds(exits=3, periods=2, events=1, migrations=1),
)


def timed(path: object, host: Host, bounds: Bounds) -> tuple[Exploration, float]:
    """Explore, and return with the outcome the processor seconds it took."""
    start = time.process_time()
    found = explore(path, host, bounds)
    return found, time.process_time() - start


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--path", default="lazy", help="the path to explore (default lazy)")
    parser.add_argument("--large", action="store_true", help="bounds that take minutes, too")
    arguments = parser.parse_args()
    path = find(arguments.path)
    table = []
    for bounds, cpus, vcpus in (*ROWS, *(LARGE if arguments.large else ())):
        found, seconds = timed(path, HOSTS["zen2+fsgsbase"]._replace(seed=1, cpus=cpus, vcpus=vcpus), bounds)
        table.append([str(bounds), cpus, vcpus, found.states, found.schedules, found.instructions, seconds])
    head = ["bounds", "CPUs", "vCPUs", "states", "schedules", "instructions", "seconds"]
    print(tabulate(table, head, floatfmt=".2f", intfmt=","))
    print()
    for bounds in PROMISE:
        total = []
        for name in LINUX:
            found, seconds = timed(path, HOSTS[name]._replace(seed=1, vcpus=1), bounds)
            total.append([name, found.states, found.schedules, "clean" if found.clean else "broken", seconds])
        total.append(["all CPU options", "", "", "", sum(row[-1] for row in total)])
        print(f"{arguments.path}, {bounds}, two CPUs:")
        print(tabulate(total, ["host", "states", "schedules", "", "seconds"], floatfmt=".2f", intfmt=","))
        print()


if __name__ == "__main__":
    main()
