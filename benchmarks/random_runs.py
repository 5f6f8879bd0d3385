"""How many random runs find a mistake: mutations of three paths, and the sample class's answers.

    python benchmarks/random_runs.py             two minutes; 60 runs for each mistake and length
    python benchmarks/random_runs.py --runs 20   a quick look

check.survives_random draws so many runs of so many exits.  For each length: how many mistakes some run
found, the one that is found least and in what share of runs, and the chance that it would pass a check, and
the fewer runs in front of a bill.  What no run found breaks where no random exit comes: explorations find
that, or it is no mistake.
"""

import argparse
import contextlib
import io
import json
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from random import Random

from tqdm import tqdm

from autograder import notebooks, sample
from svmlib import check, mutations
from svmlib.kvm import random_exits, random_host, run
from svmlib.kvm.machine import FUNCTIONS

DESIGNS = ("legacy", "vmload_before_stgi", "lazy")
#: Answers of the sample class that only a clock stops.
ENDLESS = {"endless_cell"}
LENGTHS = (8, 12, check.LENGTH, 40)


@cache
def path_of(mistake):
    """The path that a mutation makes, or that an answer of the sample class defines; None if none."""
    if isinstance(mistake, mutations.Mutation):
        return mutations.mutated(mistake)[0]
    one = next(one for one in sample.read_all() if (one.exercise, one.student) == mistake)
    script = next(
        script for script in notebooks.scripts(notebooks.ROOT / "solutions") if script.stem == one.exercise
    )
    with tempfile.TemporaryDirectory() as folder:
        sample.hand_in(one, Path(folder), script)
        text = (Path(folder) / one.student / one.exercise / f"{one.exercise}.ipynb").read_text("utf-8")
    defined = {"__name__": "answer"}
    for cell in json.loads(text)["cells"]:
        if cell["cell_type"] == "code" and not cell["metadata"].get("nbgrader", {}).get("grade"):
            with contextlib.suppress(Exception), contextlib.redirect_stdout(io.StringIO()):
                exec("".join(cell["source"]), defined)  # noqa: S102  # the sample class is ours
    functions = {name: defined[name] for name in FUNCTIONS if callable(defined.get(name))}
    with contextlib.suppress(check.CheckFailed):  # the reference's own: refused before it runs
        return check.path(**functions) if "vcpu_enter_exit" in functions else None


def found(runs, length, mistake):
    """The share of `runs` random runs that break a path with a mistake."""
    draw, broken = Random(str(mistake)), 0
    with contextlib.redirect_stdout(io.StringIO()):
        if not (path := path_of(mistake)):
            return 0
        for turn in range(runs):
            host = random_host(draw, turn)
            through = random_exits(draw.getrandbits(32), length, host)
            try:
                broken += run(path, through, host).violation is not None
            except Exception:  # noqa: BLE001  # its own Python fails: a check says so
                broken += 1
    return broken / runs


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=60, help="random runs for each mistake and length")
    runs = parser.parse_args().runs
    harmless = mutations.recorded()
    todo = [mutation for mutation in mutations.mutations(DESIGNS) if mutation not in harmless]
    count = len(todo)
    todo += [
        (one.exercise, one.student)
        for one in sample.read_all()
        if one.exercise[:2] in ("01", "02", "03")
        and not one.says.get("failed")
        and one.student not in ENDLESS
    ]
    print(f"{count} mutations of {', '.join(DESIGNS)}, {len(todo) - count} answers, {runs} runs each")
    print(f"exits   found   passes {check.RUNS} runs   passes {check.FEW_RUNS}   found least")
    with ProcessPoolExecutor() as pool:
        for length in LENGTHS:
            every = pool.map(partial(found, runs, length), todo, chunksize=4)
            shares = list(tqdm(every, total=len(todo), desc=f"{length} exits", leave=False))
            some = [(share, str(mistake)) for share, mistake in zip(shares, todo, strict=True) if share]
            least, which = min(some)
            print(
                f"{length:5} {len(some):7} {(1 - least) ** check.RUNS:15.0e} "
                f"{(1 - least) ** check.FEW_RUNS:10.0e}   {least:.2f} {which}"
            )


if __name__ == "__main__":
    main()
