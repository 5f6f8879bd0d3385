"""What a class, and a JupyterHub that serves it, need: each thing looked at, and the cure."""

import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from .. import notebooks, release
from ..release import ReleaseError
from . import attempts, deadlines, gradebook, roster

ROOM = 2_000_000_000  # bytes that a run of a large class may write
ELSEWHERE = "WSL 2, a container, or Linux 5.13 or later with libseccomp: README.md, If you teach"
#: What is lost without a layer that a run can do without.
WITHOUT = {
    "namespaces": "usual in a container: network and processes stay refused; a submission can write no file"
}


class Finding(NamedTuple):
    """Something looked at: "ok", "note" (nothing to mend) or "amiss", and then the cure."""

    state: str
    what: str
    cure: str = ""


def examine(folder: Path) -> Iterator[Finding]:
    """Look at a class folder."""
    for look in (_owner, _frozen, _course, _database, _received, _lists, _room, _layers):
        try:
            yield from look(folder)
        except ReleaseError as error:
            yield Finding("amiss", str(error))


def _owner(folder: Path) -> Iterator[Finding]:
    if os.name == "nt":
        yield Finding("note", "Windows has no modes: see that only you may read the folder")
        return
    loose = [
        path
        for path, wanted in (
            (folder, 0o700),
            (folder / "seed", 0o600),
            (folder / "nbgrader_config.py", 0o600),
        )
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & ~wanted
    ]
    for path in loose:
        yield Finding("amiss", f"{path} is open to others", f"chmod go= {path}")
    if not loose:
        yield Finding("ok", "the folder, its secret and its settings are yours alone")


def _frozen(folder: Path) -> Iterator[Finding]:
    released = release.facts(folder)["exercises"]
    if not released:
        yield Finding("note", "nothing is released yet", f"python -m autograder release {folder}")
        return
    release.intact(folder)
    yield Finding("ok", f"as it was released: the library, {', '.join(sorted(released))}")


def _course(folder: Path) -> Iterator[Finding]:
    scripts = notebooks.scripts(notebooks.ROOT / "solutions")
    if changed := release.differences(folder, scripts):
        yield Finding(
            "note", f"the class keeps what it froze; the course has moved on since: {', '.join(changed)}"
        )


def _database(folder: Path) -> Iterator[Finding]:
    where = gradebook.url(folder)
    gradebook.check(where)
    marked = gradebook.read(folder)
    yield Finding("ok", f"{gradebook.hidden(where)} answers; submissions with marks: {len(marked):,}")
    if not where.startswith("sqlite"):
        return
    import sqlite3
    from contextlib import closing

    path = folder / "gradebook.db"
    if path.exists():
        with closing(sqlite3.connect(path)) as connection:
            said = connection.execute("PRAGMA quick_check").fetchone()[0]
        if said != "ok":
            yield Finding(
                "amiss", f"{path} is damaged: {said}", "put back a copy, or move it away and grade again"
            )


def _received(folder: Path) -> Iterator[Finding]:
    listed = attempts.read(folder)
    gone = [one.place for one in listed if not (folder / "received" / one.place).is_file()]
    if gone:
        yield Finding("amiss", f"{len(gone)} received files are gone, {gone[0]} first", "collect them again")
    else:
        yield Finding("ok", f"attempts that are here: {len(listed):,}")
    lost = [path for path in (folder / "unknown").glob("*") if path.is_file()]
    if lost:
        yield Finding(
            "amiss",
            f"files in unknown/ that are nobody's: {len(lost)}",
            f"python -m autograder collect {folder} FILE --student ID, or delete them",
        )


def _lists(folder: Path) -> Iterator[Finding]:
    students = roster.read(folder)
    due = deadlines.read(folder, release.facts(folder)["exercises"], students)
    if not students:
        yield Finding(
            "note",
            "students.csv is empty: nobody can be missing",
            f"python -m autograder roster {folder} LIST.csv",
        )
    else:
        yield Finding("ok", f"{len(students):,} students, {len(due.lines)} lines of deadlines")


def _room(folder: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(folder).free
    if free < ROOM:
        yield Finding("amiss", f"{free / 1e9:.1f} GB are free where the class lies", "make room")


def _layers(_folder: Path) -> Iterator[Finding]:
    """What protects this machine from submissions, and whether `grade` runs strangers' with it."""
    if os.name == "nt":
        yield Finding("amiss", "Windows itself runs no submission", ELSEWHERE)
        return
    from .. import engine
    from ..student.layers import NEEDED

    found = engine.layers()
    if not any(layer.taken for layer in found):
        yield Finding("amiss", f"the sandbox does not come up: {found[0].why}", "make course OPEN=0")
        return
    for layer in found:
        if layer.taken:
            yield Finding("ok", f"sandbox: {layer.name}" + f" ({layer.why})" * bool(layer.why))
        elif layer.name in NEEDED:
            yield Finding("amiss", f"sandbox: no {layer.name} ({layer.why})", ELSEWHERE)
        else:
            yield Finding("note", f"sandbox: no {layer.name} ({layer.why})", WITHOUT.get(layer.name, ""))
    if all(layer.taken for layer in found if layer.name in NEEDED):
        yield Finding("ok", "grade runs strangers' submissions here")
    else:
        yield Finding(
            "amiss", "grade refuses strangers' submissions here", "--trusted, if you trust them all"
        )


# -- a JupyterHub --------------------------------------------------------------------------------------------


def examine_hub(folder: Path) -> Iterator[Finding]:
    """Look at what a JupyterHub on this machine needs, so that learners fetch and hand in from their menu."""
    settings = release.config(folder)
    course = str(settings.get("CourseDirectory", {}).get("course_id", release.COURSE))
    looks: list[Callable[[Any, str], Iterator[Finding]]] = [_packages, _exchange, _global_settings, _names]
    for look in looks:
        yield from look(settings, course)
    yield from _hub_names(folder)


def _packages(_settings: Any, _course: str) -> Iterator[Finding]:
    for name in ("jupyterlab", "nbgrader", "svmlib"):
        try:
            yield Finding("ok", f"{name} {version(name)} is in the environment {sys.prefix}")
        except PackageNotFoundError:
            yield Finding("amiss", f"{name} is not in the environment {sys.prefix}", f"pip install {name}")
    if not os.access(sys.prefix, os.R_OK | os.X_OK) or not _all_may_enter(Path(sys.prefix)):
        yield Finding(
            "amiss",
            f"learners cannot read the environment {sys.prefix}",
            "install the course where every user may read, such as /opt/svmlib",
        )


def _all_may_enter(path: Path) -> bool:
    """Whether other users may go through every folder down to `path`."""
    if os.name == "nt":
        return True
    return all(one.stat().st_mode & stat.S_IXOTH for one in (path, *path.parents))


def _exchange(settings: Any, course: str) -> Iterator[Finding]:
    said = settings.get("Exchange", {}).get("root")
    root = Path(str(said or "/usr/local/share/nbgrader/exchange"))
    if not root.is_dir():
        yield Finding(
            "amiss",
            f"the exchange {root} does not exist: the assignment list then shows an error, and no words",
            f"mkdir -p {root} && chmod ugo+rwx {root}",
        )
        return
    if stat.S_IMODE(root.stat().st_mode) & 0o777 != 0o777:
        yield Finding("amiss", f"not everybody may write to the exchange {root}", f"chmod ugo+rwx {root}")
    else:
        yield Finding("ok", f"the exchange {root} is everybody's")
    inbound = root / course / "inbound"
    if inbound.is_dir():
        yield Finding("ok", f"{inbound} is where learners hand in")
    else:
        yield Finding(
            "note", f"{course} has released nothing to the exchange", "nbgrader release_assignment NAME"
        )


def _global_settings(_settings: Any, course: str) -> Iterator[Finding]:
    """Learners' servers read no class folder: the course's name must stand where all of them look."""
    from jupyter_core.paths import ENV_CONFIG_PATH, SYSTEM_CONFIG_PATH

    paths = [Path(one) / "nbgrader_config.py" for one in (*ENV_CONFIG_PATH, *SYSTEM_CONFIG_PATH)]
    found = [path for path in paths if path.is_file()]
    naming = [path for path in found if course in path.read_text(encoding="utf-8", errors="replace")]
    if naming:
        yield Finding("ok", f"{naming[0]} names the course {course} to everybody")
    else:
        yield Finding(
            "amiss",
            f"learners' servers are not told the course's name: none of {', '.join(map(str, paths))} does",
            f'put this line there: c.CourseDirectory.course_id = "{course}"',
        )


def _names(_settings: Any, _course: str) -> Iterator[Finding]:
    if shutil.which("jupyterhub"):
        yield Finding("ok", "jupyterhub is on PATH")
    else:
        yield Finding("note", "no jupyterhub on this machine's PATH: look on the hub itself, too")


def _hub_names(folder: Path) -> Iterator[Finding]:
    """The exchange knows learners by their names on the hub, which have to be the ids of students.csv."""
    odd = [one for one in roster.read(folder) if one != one.lower() or "@" in one]
    if odd:
        yield Finding(
            "amiss",
            f"JupyterHub makes names lower-case and without @: {', '.join(odd[:5])} would not be found",
            "python -m autograder roster CLASS LIST --id COLUMN with the column of the hub's names",
        )
