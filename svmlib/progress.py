"""What a learner has done: written by the notebooks into one file of the work folder, read by the start page.

A folder is a work folder when it holds the marker MARKER, which `make course` puts there.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

from . import __version__

MARKER = ".course.json"
FILE = ".progress.json"


class Row(NamedTuple):
    """A notebook on the start page."""

    #: Its name without .ipynb, and its heading.
    notebook: str
    title: str
    #: "lesson" or "exercise".
    kind: str
    difficulty: str
    minutes: int
    #: "open": nothing ran yet; "tried"; "done": every cell that counts ended well at its last run.
    state: str
    #: How many cells have ended well, of how many that count: an exercise's tests, a lesson's code cells.
    passed: int
    of: int


def begin(notebook: str, svmlib: str) -> None:
    """Open `notebook`, written for version `svmlib` of this library, and keep its progress from here on.

    Raises ImportError when the kernel has another version.  Outside a work folder nothing is kept.
    """
    if svmlib.split(".")[:2] != __version__.split(".")[:2]:
        raise ImportError(
            f"{notebook} was written for svmlib {svmlib}, and this kernel has {__version__}. "
            "In the course's folder run `make course`, which installs the right one; then restart the kernel."
        )
    folder = work_folder()
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if folder is None or shell is None:
        return
    for old in [f for f in shell.events.callbacks["post_run_cell"] if isinstance(f, _Recorder)]:
        shell.events.unregister("post_run_cell", old)
    shell.events.register("post_run_cell", _Recorder(folder, notebook))


class _Recorder:
    """Called by IPython after each cell; keeps whether the cell ended well."""

    def __init__(self, folder: Path, notebook: str):
        self.folder = folder
        self.notebook = notebook

    def __call__(self, result: Any) -> None:
        cell = getattr(result.info, "cell_id", None)
        if cell:
            record(self.folder, self.notebook, cell, passed=bool(result.success))


def work_folder() -> Path | None:
    """Return the nearest folder upwards that holds the marker, or None."""
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / MARKER).is_file()), None)


def record(folder: Path, notebook: str, cell: str, *, passed: bool) -> None:
    """Keep that `cell` of `notebook` ended well or not; a progress file that cannot be read is begun anew."""
    done = _read(folder)
    done.setdefault(notebook, {})[cell] = passed
    new = folder / f"{FILE}.{os.getpid()}"
    new.write_text(json.dumps(done, indent=1, sort_keys=True), encoding="utf-8")
    new.replace(folder / FILE)


def _read(folder: Path) -> dict[str, dict[str, bool]]:
    try:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def overview(folder: Path | None = None) -> list[Row]:
    """Return a row for each notebook of the work folder, by number, a lesson before its exercise."""
    folder = folder or work_folder()
    if folder is None:
        return []
    done = _read(folder)
    rows = [
        row
        for path in sorted(folder.glob("[0-9][0-9]_*.ipynb"))
        if (row := _row(path, done.get(path.stem, {})))
    ]
    return sorted(rows, key=lambda row: (row.notebook[:2], row.kind != "lesson", row.notebook))


def _row(path: Path, done: dict[str, bool]) -> Row | None:
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        about = notebook["metadata"]["svmlib"]
        code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    tests = [cell["id"] for cell in code if str(cell.get("id", "")).startswith("test_")]
    counted = tests or [cell.get("id", "") for cell in code]
    passed = sum(done.get(cell, False) for cell in counted)
    state = "done" if counted and passed == len(counted) else "tried" if done else "open"
    kind = "exercise" if tests else "lesson"
    return Row(
        path.stem, about["title"], kind, about["difficulty"], about["minutes"], state, passed, len(counted)
    )
