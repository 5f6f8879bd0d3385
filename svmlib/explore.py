"""Explore a path: every order of exits and events within bounds, on one kind of host or on several.

Exit status 0 says that nothing breaks the path and all was tried, 1 that something does or not all was, 2
that there is no such path or host, or that the path's Python fails.
"""

import argparse
import importlib
import importlib.util
import json
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from .explorer import LIMIT, Bounds, Exploration, explore
from .kvm import Host, PathError
from .kvm.hosts import HOSTS, name_of
from .kvm.machine import functions_of
from .paths import DESIGNS

#: Hosts that differ in all that changes a rule for a path on 64-bit Linux: FSGSBASE in use, and
#: NullSelectorClearsBase.
LINUX = ("zen1+fsgsbase", "zen1-fsgsbase", "zen2+fsgsbase", "zen2-fsgsbase")


def find(name: str) -> Any:
    """Return the path `name`: a design on record, say "lazy", "file.py:MyPath", or a file that is one itself.

    ValueError says what is wrong with the name; PathError what the path lacks.
    """
    file, _, attribute = name.partition(":")
    if file.endswith(".py"):
        found = _module(Path(file))
    else:
        module, _, attribute = name.partition(".")
        try:
            found = importlib.import_module(f"svmlib.paths.{module}")
        except ModuleNotFoundError:
            raise ValueError(
                f"no design {module!r}; there are {', '.join(DESIGNS)}, and file.py:NAME"
            ) from None
    for part in attribute.split(".") if attribute else ():
        if not hasattr(found, part):
            raise ValueError(f"{name}: there is no {part!r} in it")
        found = getattr(found, part)
    if file.endswith(".py") and not attribute and not hasattr(found, "vcpu_enter_exit"):
        names = [key for key, value in vars(found).items() if hasattr(value, "vcpu_enter_exit")]
        raise ValueError(f"{name} is no path itself; write {file}:{names[0] if names else 'NAME'}")
    functions_of(found)
    return found


def _module(file: Path) -> Any:
    if not file.is_file():
        raise ValueError(f"there is no file {file}")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise ValueError(f"{file} is no Python module")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a file of somebody's raises
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise ValueError(f"{file}{line}: {type(error).__name__}: {error}") from error
    return module


def hosts(name: str, **fields: Any) -> dict[str, Host]:
    """Return the kinds of host that `name` means: one, a CPU's two, or with "linux" all CPU options.

    ValueError lists the names there are.
    """
    names = (
        LINUX
        if name == "linux"
        else [one for one in HOSTS if one in (name, f"{name}+fsgsbase", f"{name}-fsgsbase")]
    )
    if not names:
        raise ValueError(f"no kind of host {name!r}; there are linux, zen1 to zen4, {', '.join(HOSTS)}")
    return {one: HOSTS[one]._replace(**fields) for one in names}


def bounds(text: str) -> Bounds:
    """Read bounds: "3" is exits=3; "exits=3,periods=2,events=1,migrations=1" says each, or some of them."""
    words = [f"exits={text}"] if text.isdecimal() else text.split(",")
    values = {}
    for word in words:
        name, _, value = word.partition("=")
        least = name in ("exits", "periods")
        if name not in Bounds._fields or not value.isdecimal() or int(value) < least:
            raise ValueError(f"no bound {word!r}; write a number of exits, or {Bounds()}")
        values[name] = int(value)
    return Bounds(**values)


def as_json(found: Exploration, seconds: float) -> dict[str, Any]:
    """Return an exploration as plain data."""
    story = found.story and {
        "exits": [str(exit_) for exit_ in found.exits],
        "rule": found.story.invariant,
        "symptom": found.story.symptom,
        "story": list(found.story.sentences),
        "line": found.story.line and found.story.line._asdict(),
        "step": found.run.violation.step if found.run and found.run.violation else None,
    }
    return {
        "path": found.path,
        "host": name_of(found.host) or repr(found.host),
        "seed": found.host.seed,
        "bounds": found.bounds._asdict(),
        "clean": found.clean,
        "complete": found.complete,
        "states": found.states,
        "schedules": found.schedules,
        "instructions": found.instructions,
        "seconds": round(seconds, 3),
        "not_a_function": found.impure or None,
        "counterexample": story,
    }


# -- the command

_EXAMPLES = """\
examples:
  python -m svmlib explore legacy --host zen2 --bounds 3      with FSGSBASE in use and without
  python -m svmlib explore lazy --host linux                  on all hosts whose CPU options differ
  python -m svmlib explore my_paths.py:MyPath --json          a path of yours
  python -m svmlib explore lazy --bounds exits=2,periods=3,events=2
"""


def command(commands: Any) -> None:
    """Add `explore` to the command line."""
    parser = commands.add_parser(
        "explore",
        help="does any order of exits and events break a path? the shortest one, told",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("path", help="a design on record, or file.py:NAME")
    parser.add_argument(
        "--host", default="linux", help="a kind of host, a CPU, or linux (default): all CPU options"
    )
    parser.add_argument(
        "--bounds", default="2", help="exits a period, or exits=2,periods=2,events=1,migrations=1"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the registers' values (default 1)")
    parser.add_argument("--cpus", type=_positive, default=2, help="default 2")
    parser.add_argument(
        "--vcpus", type=_positive, default=1, help="default 1; with 2 they preempt each other"
    )
    parser.add_argument("--limit", type=_positive, default=LIMIT, help="instructions after which it gives up")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_main)


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number: write 1 or more") from None
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1: write 1 or more")
    return number


def _main(arguments: argparse.Namespace) -> int:
    try:
        return _all(arguments)
    except Exception as error:  # whatever a path of somebody's raises; what is wrong with us is shown whole
        if not (said := _in_their_file(error)):
            raise
        print(said, file=sys.stderr)
        return 2


def _in_their_file(error: Exception) -> str:
    """Say an exception by the last line outside this package that it came through; "" where there is none."""
    ours = Path(__file__).parent
    theirs = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.endswith(".py") and ours not in Path(frame.filename).parents
    ]
    installed = [Path(sys.prefix), Path(sys.base_prefix)]
    theirs = [frame for frame in theirs if not any(one in Path(frame.filename).parents for one in installed)]
    if not theirs:
        return ""
    said, last = traceback.format_exception_only(error)[-1].strip(), theirs[-1]
    return f"{said}\n{last.filename}, line {last.lineno}, in {last.name}: {last.line}"


def _all(arguments: argparse.Namespace) -> int:
    try:
        path = find(arguments.path)
        within = bounds(arguments.bounds)
        kinds = hosts(arguments.host, seed=arguments.seed, cpus=arguments.cpus, vcpus=arguments.vcpus)
    except (ValueError, PathError) as error:
        print(error, file=sys.stderr)
        return 2
    results = []
    for name, host in kinds.items():
        start = time.perf_counter()
        found = explored(path, host, within, arguments.limit, name)
        seconds = time.perf_counter() - start
        results.append(as_json(found, seconds))
        if not arguments.json:
            print(_told(arguments.path, name, found, seconds))
        if not found.clean:
            break
    if arguments.json:
        print(json.dumps(results, ensure_ascii=False, indent=2))
    return 0 if all(result["clean"] for result in results) else 1


def _told(path: str, kind: str, found: Exploration, seconds: float) -> str:
    """Say how an exploration ended."""
    head = f"{path} on {kind}, {seconds:.1f} s: "
    if not found.story:
        return f"{head}{found}"
    schedule = " ".join(str(exit_) for exit_ in found.exits)
    return f"{head}broken by {schedule}\n{found}\n{again(found, kind)}"


def again(found: Exploration, kind: str) -> str:
    """Say how to run a counterexample again, for the stepper."""
    words = ", ".join(f'"{exit_}"' for exit_ in found.exits)
    host = found.host
    return (
        f"To step through it: run(path, exits({words}), "
        f'host("{kind}", seed={host.seed}, cpus={host.cpus}, vcpus={host.vcpus}))'
    )


def explored(path: Any, host: Host, within: Bounds, limit: int = LIMIT, label: str = "") -> Exploration:
    """Explore with a progress bar where somebody watches."""
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        return explore(path, host, within, limit=limit)
    # disable=None is tqdm's word for no bar where nobody watches; delay spares short ones.
    with tqdm(desc=label, unit=" exits", disable=None, leave=False, delay=1) as bar:

        def told(tried: int, states: int, depth: int) -> None:
            bar.update(tried - bar.n)
            if tried % 64 == 0:
                bar.set_postfix(states=states, depth=depth, refresh=False)

        return explore(path, host, within, limit=limit, progress=told)
