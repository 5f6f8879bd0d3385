"""A class folder: what decides marks, frozen when the exercises are released.

    nbgrader_config.py     makes the folder nbgrader's: `cd` there, `jupyter lab`, and open Formgrader
    class.json             version and digest of svmlib, digests of the sources; never mixed
    seed                   of the hidden scenarios; reaches the kernels as SVMLIB_SEED
    source/  release/      the whole notebooks, and what learners were given
    received/              the submissions as they came in: STUDENT/EXERCISE/EXERCISE.ipynb
    submitted/  autograded/  feedback/  gradebook.db  grades.csv  grading.log

The folder is its owner's alone (mode 700) and lies outside the repository.
"""

import hashlib
import json
import os
import secrets
import sysconfig
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

import platformdirs

from . import notebooks, run

CONFIG = '''"""The class folder, for nbgrader. Made by `python -m autograder grade`."""

from pathlib import Path

c = get_config()  # noqa: F821
c.CourseDirectory.root = str(Path(__file__).resolve().parent)
c.CourseDirectory.course_id = "svmlib"
c.CourseDirectory.ignore = [".ipynb_checkpoints", "*.pyc*", "__pycache__", "feedback", ".graded"]
'''
SETTINGS: dict[str, dict[str, Any]] = notebooks.SETTINGS | run.SETTINGS


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
    if folder.exists() and any(folder.iterdir()) and not (folder / "seed").exists():
        raise ReleaseError(f"{folder} is neither empty nor a class folder: choose another place")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder


def seed(folder: Path) -> str:
    """The class's secret seed, drawn on the first call."""
    path = folder / "seed"
    if not path.exists():
        with open(
            path, "x", opener=lambda name, flags: os.open(name, flags, 0o600), encoding="ascii"
        ) as file:
            file.write(f"{secrets.randbits(63)}\n")
    return path.read_text(encoding="ascii").strip()


def environment(folder: Path) -> dict[str, str]:
    """What nbgrader and its kernels find in the environment: the seed, and alembic on the PATH."""
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    return {"SVMLIB_SEED": seed(folder), "PATH": path}


def current(scripts: list[Path]) -> dict[str, Any]:
    """What would decide marks if the class were released now."""
    spec = find_spec("svmlib")
    package = (
        Path(next(iter(spec.submodule_search_locations)))
        if spec and spec.submodule_search_locations
        else None
    )
    files = sorted(p for p in package.rglob("*") if p.suffix in {".py", ".csv"}) if package else []
    files = [path for path in files if "views" not in path.parts]  # what is seen decides no mark
    return {
        "svmlib": version("svmlib") if package else "",
        "model": _digest(*(path.read_bytes() for path in files)),
        "exercises": {script.stem: _digest(notebooks.source(script).encode()) for script in scripts},
    }


def differences(folder: Path, scripts: list[Path]) -> list[str]:
    """What decides marks in the class and is different now, in words; empty when the class can be graded."""
    frozen, now = json.loads((folder / "class.json").read_text(encoding="utf-8")), current(scripts)
    names = sorted(frozen["exercises"].keys() | now["exercises"].keys())
    changed = [name for name in names if frozen["exercises"].get(name) != now["exercises"].get(name)]
    if frozen["svmlib"] != now["svmlib"]:
        changed.append(f"svmlib (released with {frozen['svmlib']}, here is {now['svmlib']})")
    elif frozen["model"] != now["model"]:
        changed.append(f"svmlib's files (released with another {now['svmlib']})")
    return changed


def release(folder: Path, scripts: list[Path], *, sample: bool = False) -> None:
    """Freeze sources and seed in a new class folder, and let nbgrader make the release.

    class.json is written last, so a release that was broken off is made again. Every solution is run once
    with the class's seed: a class whose own solutions fall short is not released.
    """
    lines = [
        f"c.{name}.{key} = {value!r}\n" for name, keys in SETTINGS.items() for key, value in keys.items()
    ]
    (folder / "nbgrader_config.py").write_text(CONFIG + "".join(lines), encoding="utf-8")
    with mock.patch.dict(os.environ, environment(folder)):
        for script in scripts:
            text = notebooks.source(script)
            _verify(script, text)
            path = folder / "source" / script.stem / f"{script.stem}.ipynb"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            _generate(folder, script.stem)
    (folder / "class.json").write_text(
        json.dumps(current(scripts) | {"sample": sample}, indent=1) + "\n", encoding="utf-8"
    )


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


def _generate(folder: Path, exercise: str) -> None:
    from nbgrader.converters import GenerateAssignment
    from nbgrader.coursedir import CourseDirectory
    from nbgrader.utils import capture_log

    settings = config(folder)
    course = CourseDirectory(config=settings)
    course.assignment_id = exercise
    app = GenerateAssignment(coursedir=course, config=settings)
    app.force = True
    result = capture_log(app)
    if not result["success"]:
        raise ReleaseError(f"{exercise}: nbgrader could not make the release: {result['log']}")


def _digest(*parts: bytes) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(hashlib.sha256(part).digest())
    return total.hexdigest()
