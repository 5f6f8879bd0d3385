"""A tiny class for the tests of the instructor's side: released once, copied for each test; its inboxes."""

import shutil
import zipfile
from datetime import UTC, datetime
from pathlib import Path

from autograder import notebooks, release, sample

TINY = Path(__file__).parent / "tiny"
SCRIPTS = notebooks.scripts(TINY / "solutions")
EXERCISE = SCRIPTS[0].stem
RELEASED: list[Path] = []


def released(tmp_path_factory) -> Path:
    """The class folder that all tests of this process copy from."""
    if not RELEASED:
        folder = tmp_path_factory.mktemp("released") / "class"
        release.new(folder, zone="Europe/Berlin")
        release.release(folder, SCRIPTS)
        RELEASED.append(folder)
    return RELEASED[0]


def copy(tmp_path_factory, to: Path) -> Path:
    """A class folder of the caller's own."""
    shutil.copytree(released(tmp_path_factory), to)
    (to / "nbgrader_config.py").chmod(0o600)
    return to


def handed_in(student="s01_right", tmp=None) -> bytes:
    """The notebook that a student of the tiny sample class hands in."""
    one = next(one for one in sample.read_all(TINY / "sample_class") if one.student == student)
    sample.hand_in(one, tmp, SCRIPTS[0])
    [path] = (tmp / student).rglob("*.ipynb")
    return path.read_bytes()


def zipped(path: Path, files: dict[str, bytes], when=(2026, 12, 2, 9, 0, 0)) -> Path:
    """A zip archive made at `when`."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, when), data)
    return path


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
