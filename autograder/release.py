"""A class folder: what decides marks, frozen when an exercise is released.

    nbgrader_config.py     makes the folder nbgrader's: `cd` there, `jupyter lab`, and open Formgrader
    class.json             course name, time zone, svmlib's version and digest, digests of the sources
    seed                   the class's secret; each exercise's hidden scenarios draw from a seed made of it
    frozen/svmlib/         the library as it was at the first release, prices and budgets included: it grades
    source/  release/      the whole notebooks, and what learners were given
    earlier/               what learners were given before it was released again
    students.csv  deadlines.csv
    received/  unknown/    the submissions as they came in, and the files that nobody could be found for
    submitted/             of each student the attempt that counts, where nbgrader looks for it
    journal-*  outcomes.jsonl   verdicts as they were given, and what of them is not in the gradebook
    autograded/  feedback/  gradebook.db  grades.csv  report.html

The folder is its owner's alone (mode 700) and lies outside the repository. A course that is upgraded later
moves no mark in it: every run takes sources, seed and library from the folder.
"""

import hashlib
import hmac
import json
import os
import re
import secrets
import shutil
import sysconfig
from collections.abc import Iterable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

import platformdirs

from . import notebooks, run

CONFIG = '''"""The class folder, for nbgrader. Made by `python -m autograder new`."""

from pathlib import Path

c = get_config()  # noqa: F821
c.CourseDirectory.root = str(Path(__file__).resolve().parent)
c.CourseDirectory.ignore = [".ipynb_checkpoints", "*.pyc*", "__pycache__", "feedback", ".graded"]
'''
SETTINGS: dict[str, dict[str, Any]] = (
    notebooks.SETTINGS
    | run.SETTINGS
    | {"Autograde": {"exporter_class": "autograder.engine.refusal.Refusal"}}  # it would run them unprotected
)
COURSE = "svmlib"
LATE = ("none", "zero")  # nbgrader's own methods; another plugin is named in nbgrader_config.py


class ReleaseError(Exception):
    """A class folder that cannot be used; the message says why and what to do."""


def default_folder() -> Path:
    """Where the sample class lives: the platform's place for a user's data."""
    return platformdirs.user_data_path("svmlib") / "classes" / "sample"


def open_folder(folder: Path) -> Path:
    """The class folder, made when it is new; never inside the repository."""
    folder = folder.expanduser().resolve()
    if folder.is_relative_to(notebooks.ROOT):
        raise ReleaseError(
            f"{folder} lies inside the repository, but holds a secret seed and marks: choose another place"
        )
    if folder.exists() and not folder.is_dir():
        raise ReleaseError(f"{folder} is a file: name a folder for the class")
    begun = {"seed", ".seed.part"}  # the first that is written, and its name until it is whole
    if folder.exists() and any(folder.iterdir()) and not any((folder / name).exists() for name in begun):
        raise ReleaseError(f"{folder} is neither empty nor a class folder: choose another place")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder


def existing(folder: Path) -> Path:
    """A class folder that is there; another is refused with the command that makes one."""
    folder = folder.expanduser().resolve()
    if not (folder / "class.json").exists():
        raise ReleaseError(f"{folder} is no class folder. Make one: python -m autograder new {folder}")
    return open_folder(folder)


def new(
    folder: Path,
    *,
    course: str = COURSE,
    zone: str = "UTC",
    late: str = "none",
    database: str = "",
    sample: bool = False,
    wanted: Iterable[str] = (),
) -> Path:
    """Make a class folder: its secret, its settings for nbgrader, nothing released yet.

    `wanted` are the exercises that are released next, noted in case that is broken off.
    """
    folder = open_folder(folder)
    if (folder / "class.json").exists():
        raise ReleaseError(f"{folder} is a class already: choose another folder")
    seed(folder)
    settings = SETTINGS | {"LateSubmissionPlugin": {"penalty_method": late}}
    settings["CourseDirectory"] = {"course_id": course} | ({"db_url": database} if database else {})
    lines = [
        f"c.{name}.{key} = {value!r}\n" for name, keys in settings.items() for key, value in keys.items()
    ]
    write(folder / "nbgrader_config.py", CONFIG + "".join(lines))
    said = {"course": course, "zone": zone, "sample": sample, "wanted": list(wanted), "exercises": {}}
    _write_facts(folder, said)
    return folder


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all, readable by its owner alone."""
    require_place(path)
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    with open(part, "x", opener=_private, encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def require_place(path: Path) -> None:
    """Refuse a file's name that is a folder's, or lies in none, before anything is done for it."""
    if path.is_dir():
        raise ReleaseError(f"{path} is a folder: name the file in it that is to be written")
    if not path.parent.is_dir():
        raise ReleaseError(f"{path} cannot be written: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ReleaseError(f"{path} cannot be written: you may not write to the folder {path.parent}")


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)


def facts(folder: Path) -> dict[str, Any]:
    """What class.json says."""
    try:
        said: dict[str, Any] = json.loads((folder / "class.json").read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ReleaseError(
            f"{folder / 'class.json'} cannot be read ({error}): put back its last copy"
        ) from None
    return said


def released(folder: Path) -> dict[str, Any]:
    """What class.json says of each exercise; ReleaseError where none is released."""
    exercises: dict[str, Any] = facts(folder)["exercises"]
    if not exercises:
        raise ReleaseError(f"{folder} has released nothing: python -m autograder release {folder}")
    return exercises


def _write_facts(folder: Path, said: dict[str, Any]) -> None:
    write(folder / "class.json", json.dumps(said, indent=1) + "\n")


def seed(folder: Path, exercise: str = "") -> str:
    """The class's secret, drawn on the first call; with `exercise`, the seed of that exercise alone.

    A seed that leaks tells nothing of the other exercises'.
    """
    path = folder / "seed"
    if not path.exists():
        write(path, f"{secrets.randbits(63)}\n")
    secret = path.read_text(encoding="ascii").strip()
    if not exercise:
        return secret
    made = hmac.digest(secret.encode(), exercise.encode(), "sha256")
    return str(int.from_bytes(made[:8], "big") >> 1)


def environment(folder: Path, exercise: str, library: Path | None = None) -> dict[str, str]:
    """What grading finds in the environment: the seed, the class's own svmlib, alembic on the PATH."""
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    modules = os.pathsep.join(
        filter(None, [str(library or folder / "frozen"), os.environ.get("PYTHONPATH", "")])
    )
    return {"SVMLIB_SEED": seed(folder, exercise), "PYTHONPATH": modules, "PATH": path}


def _package() -> Path | None:
    spec = find_spec("svmlib")
    return (
        Path(next(iter(spec.submodule_search_locations)))
        if spec and spec.submodule_search_locations
        else None
    )


def _model(package: Path | None) -> str:
    """The digest of what in svmlib decides marks."""
    files = sorted(p for p in package.rglob("*") if p.suffix in {".py", ".csv"}) if package else []
    files = [path for path in files if "views" not in path.parts]  # what is seen decides no mark
    return _digest(*(path.read_bytes() for path in files))


def current(scripts: list[Path]) -> dict[str, Any]:
    """What would decide marks if the class were released now."""
    package = _package()
    return {
        "svmlib": version("svmlib") if package else "",
        "model": _model(package),
        "exercises": {script.stem: _digest(notebooks.source(script).encode()) for script in scripts},
    }


def differences(folder: Path, scripts: list[Path]) -> list[str]:
    """What decides marks in the class and is different in the course now, in words."""
    frozen, now = facts(folder), current(scripts)
    names = sorted(frozen["exercises"].keys() & now["exercises"].keys())
    changed = [name for name in names if frozen["exercises"][name] != now["exercises"][name]]
    if "model" not in frozen:
        return changed
    if frozen["svmlib"] != now["svmlib"]:
        changed.append(f"svmlib (released with {frozen['svmlib']}, here is {now['svmlib']})")
    elif frozen["model"] != now["model"]:
        changed.append(f"svmlib's files (released with another {now['svmlib']})")
    return changed


def intact(folder: Path) -> None:
    """Refuse a class in which somebody changed what was frozen: its marks could move."""
    said = facts(folder)
    changed = [
        name
        for name, digest in said["exercises"].items()
        if not (path := folder / "source" / name / f"{name}.ipynb").is_file()
        or _digest(path.read_bytes()) != digest
    ]
    if "model" in said and _model(folder / "frozen" / "svmlib") != said["model"]:
        changed.append("frozen/svmlib")
    if changed:
        raise ReleaseError(
            f"{folder}: changed since the release: {', '.join(changed)}. Put back a copy, or accept what is "
            "there now: python -m autograder release CLASS EXERCISE --again"
        )


def release(folder: Path, scripts: list[Path], *, again: bool = False) -> None:
    """Freeze library and sources in a class folder, and let nbgrader make what learners get.

    An exercise enters class.json when it is whole, so a release that was broken off is made again. Every
    solution is run once with its seed: an exercise whose own solution falls short is not released. The
    library is frozen with the first exercise, for all of them; `again` takes library and sources anew.
    """
    said = facts(folder)
    if again:
        for script in scripts:
            _require_its_cells(folder, script)
    library = folder / "frozen"
    if again or not said["exercises"]:
        library = _copied(folder)
        said |= {key: value for key, value in current([]).items() if key != "exercises"}
    for script in scripts:
        text = notebooks.source(script)
        if script.stem in said["exercises"] and not again:
            if said["exercises"][script.stem] == _digest(text.encode()):
                continue
            raise ReleaseError(
                f"{script.stem} was released already, and its source has changed since. The class keeps what "
                f"it has; to give out and grade by the new one: release CLASS {script.stem} --again"
            )
        with mock.patch.dict(os.environ, environment(folder, script.stem, library)):
            _verify(script, text)
        library = _frozen(folder, library)
        with mock.patch.dict(os.environ, environment(folder, script.stem)):
            path = folder / "source" / script.stem / f"{script.stem}.ipynb"
            path.parent.mkdir(parents=True, exist_ok=True)
            _keep_earlier(folder, script.stem)
            write(path, text)
            _generate(folder, script.stem)
        said["exercises"][script.stem] = _digest(text.encode())
        _write_facts(folder, said)


def _keep_earlier(folder: Path, exercise: str) -> None:
    """Keep what is given out now: it tells what a student changed from what a later release did."""
    path = folder / "release" / exercise / f"{exercise}.ipynb"
    if path.is_file():
        data = path.read_bytes()
        kept = folder / "earlier" / exercise / f"{_digest(data)[:12]}.ipynb"
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write(kept, data.decode("utf-8"))


def earlier(folder: Path, exercise: str) -> list[str]:
    """The notebooks that were given out as an exercise before it was released again."""
    return [path.read_text("utf-8") for path in sorted((folder / "earlier" / exercise).glob("*.ipynb"))]


def _require_its_cells(folder: Path, script: Path) -> None:
    """Refuse what nbgrader's gradebook does not take once somebody has marks: a cell more or less."""
    from .classes import gradebook

    path = folder / "source" / script.stem / f"{script.stem}.ipynb"
    if not path.is_file() or not any(name == script.stem for _, name in gradebook.read(folder)):
        return
    old, new = cells(folder, script.stem), _cells(notebooks.source(script))
    if names := sorted({name for name, _ in old ^ new}):
        raise ReleaseError(
            f"{script.stem}: somebody has marks in it, and the gradebook then takes no cell more or less: "
            f"{', '.join(names)}. Change what is in the cells, or release it under another name"
        )


def cells(folder: Path, exercise: str) -> set[tuple[str, bool]]:
    """The cells of an exercise that the gradebook knows, and whether they get marks or comments."""
    return _cells((folder / "source" / exercise / f"{exercise}.ipynb").read_text("utf-8"))


def _cells(text: str) -> set[tuple[str, bool]]:
    blocks = [cell["metadata"].get("nbgrader", {}) for cell in json.loads(text)["cells"]]
    return {(block["grade_id"], block["grade"] or block["solution"]) for block in blocks if block}


def _copied(folder: Path) -> Path:
    """The library as it is now, beside the one that grades: it takes its place when a solution has passed."""
    package, part = _package(), folder / ".frozen.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    if package:
        shutil.copytree(package, part / "svmlib", ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    return part


def _frozen(folder: Path, library: Path) -> Path:
    """The class's library, once another one has taken its place."""
    frozen = folder / "frozen"
    if library != frozen:
        shutil.rmtree(frozen, ignore_errors=True)
        library.rename(frozen)
    return frozen


def config(folder: Path) -> Any:
    """The folder's nbgrader configuration, as formgrader reads it."""
    from traitlets.config.loader import PyFileConfigLoader

    return PyFileConfigLoader("nbgrader_config.py", path=str(folder)).load_config()


def _verify(script: Path, text: str) -> None:
    got = run.marks(run.run(text))
    short = [
        f"{name} {got[name]:g} of {points:g}"
        for name, points in notebooks.expected(script).items()
        if got[name] != points
    ]
    if short:
        raise ReleaseError(
            f"{script.stem}: with this seed its solution does not score what it states: {', '.join(short)}"
        )


def into_gradebook(folder: Path, exercises: Iterable[str]) -> None:
    """Have nbgrader enter exercises into a gradebook that lost them; what learners were given stays."""
    again = ".released-again"
    for name in sorted(exercises):
        with mock.patch.dict(os.environ, environment(folder, name)):
            _generate(folder, name, to=again)
        shutil.rmtree(folder / again, ignore_errors=True)


def _generate(folder: Path, exercise: str, *, to: str = "release") -> None:
    from nbgrader.converters import GenerateAssignment
    from nbgrader.coursedir import CourseDirectory
    from nbgrader.utils import capture_log

    from .classes import gradebook

    gradebook.make(folder)
    settings = config(folder)
    course = CourseDirectory(config=settings)
    course.assignment_id = exercise
    course.release_directory = to
    app = GenerateAssignment(coursedir=course, config=settings)
    app.force = True
    result = capture_log(app)
    if not result["success"]:
        if "Canceled" in result["log"]:  # nbgrader's word for Ctrl-C, which it keeps to itself
            raise KeyboardInterrupt
        log = folder / "release.log"
        write(log, result["log"])
        why = _reason(result["log"])
        raise ReleaseError(
            f"{exercise}: nbgrader could not make the release: {why}. What else it said is in {log}"
        )


def _reason(log: str) -> str:
    """The error in a log, without the lines of Python that led to it."""
    said = [line.strip() for line in log.splitlines() if re.match(r"\s*[\w.]*(Error|Exception)\b", line)]
    return said[-1] if said else log.strip().partition("\n")[0]


def _digest(*parts: bytes) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(hashlib.sha256(part).digest())
    return total.hexdigest()
