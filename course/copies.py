"""The learner's copies of the notebooks, flat in work/: made, renewed while untouched, never overwritten."""

import hashlib
import json
import shutil
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

RECORD = ".course.json"  # marks the folder as a learner's, and holds the fingerprint of what was copied
PROGRESS = ".progress.json"  # what the checks found: notebook -> cell -> passed


def sources(root: Path) -> dict[str, Path]:
    """The notebooks that a learner gets, lessons first: file name -> file."""
    folders = (root / "course", root / "exercises")
    return {path.name: path for folder in folders for path in sorted(folder.glob("*.ipynb"))}


def fingerprint(notebook: Path) -> str | None:
    """What a notebook says and asks, run or not, whoever saved it; None if it cannot be read.

    Jupyter rewrites a file as it saves it, so its bytes would tell nothing.
    """
    try:
        content = json.loads(notebook.read_text("utf-8"))
        said = [content.get("metadata", {}).get("svmlib")]
        said += [
            (
                cell["cell_type"],
                "".join(cell["source"]),
                cell.get("id"),
                cell.get("metadata", {}).get("nbgrader"),
            )
            for cell in content["cells"]
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def renew(root: Path, work: Path) -> list[str]:
    """Copy what is missing, renew what is untouched and out of date; say what was done and what was kept."""
    work.mkdir(exist_ok=True)
    record = recorded(work)
    made, renewed, kept = [], [], []
    for name, source in sources(root).items():
        copy, now = work / name, fingerprint(source)
        mine, before = fingerprint(copy), record.get(name) or "unknown"
        if not copy.exists():
            made.append(name)
            place(source, copy)
        elif mine == before != now:
            renewed.append(name)
            place(source, copy)
        elif mine not in (before, now) and before != now:
            kept.append(name)
            continue
        record[name] = now
    write(work / RECORD, {"copies": record})
    return sentences(work, made, renewed, kept)


def recorded(work: Path) -> dict[str, str | None]:
    """The fingerprint of each notebook as it was copied; empty when that is not known."""
    found = read(work / RECORD).get("copies")
    return found if isinstance(found, dict) else {}


def sentences(work: Path, made: list[str], renewed: list[str], kept: list[str]) -> list[str]:
    """What `renew` did, for people."""
    lines = []
    if made:
        lines.append(f"{work.name}/ has {len(made)} new notebook{'s' * (len(made) > 1)}.")
    if renewed:
        lines.append(f"Renewed, since you had not changed them: {', '.join(renewed)}.")
    for name in kept:
        type_this = f"make reset NN={Path(name).stem}"
        lines.append(f"Kept, since you changed it: {name}. For the new one, type: {type_this}")
    return lines


def reset(root: Path, work: Path, asked: str) -> str:
    """Put a fresh copy of the notebook `asked` for into `work`, and the old one into its backups."""
    name = find(sources(root), asked)
    copy, source, kept = work / name, sources(root)[name], ""
    work.mkdir(exist_ok=True)
    if copy.exists():
        backup = backup_name(work / "backups", copy)
        backup.parent.mkdir(exist_ok=True)
        shutil.copy2(copy, backup)
        kept = f" Yours is kept as {backup.relative_to(work.parent)}."
    place(source, copy)
    write(work / RECORD, {"copies": recorded(work) | {name: fingerprint(source)}})
    if progress := read(work / PROGRESS):
        write(work / PROGRESS, {key: cells for key, cells in progress.items() if Path(key).stem != copy.stem})
    return f"{work.name}/{name} is fresh.{kept}"


def find(names: dict[str, Path], asked: str) -> str:
    """The one notebook whose name begins as `asked`; the end of the program when that is none or several."""
    if not asked:
        sys.exit("reset needs a notebook's name. Type: make reset NN=01_legacy_path, or another of work/")
    asked = Path(asked).name.removesuffix(".ipynb")
    if f"{asked}.ipynb" in names:
        return f"{asked}.ipynb"
    fits = [name for name in names if name.startswith(asked)]
    if len(fits) == 1:
        return fits[0]
    problem = "Several notebooks begin" if fits else "No notebook begins"
    stems = ", ".join(Path(name).stem for name in fits or names)
    return sys.exit(f"{problem} with {asked!r}. Type one of these names in full: {stems}")


def backup_name(folder: Path, copy: Path) -> Path:
    """A dated name that is not taken."""
    stem = f"{copy.stem}.{datetime.now().astimezone():%Y-%m-%d-%H%M%S}"
    number, backup = 1, folder / f"{stem}{copy.suffix}"
    while backup.exists():
        number += 1
        backup = folder / f"{stem}-{number}{copy.suffix}"
    return backup


def place(source: Path, copy: Path) -> None:
    """Copy in one step: an interruption leaves the old file or the new one."""
    half = copy.with_name(f".{copy.name}.new")
    shutil.copyfile(source, half)
    half.replace(copy)


def read(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty when there is none to read."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write(path: Path, content: dict[str, Any]) -> None:
    """A JSON object to a file, in one step."""
    half = path.with_name(path.name + ".new")
    half.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", "utf-8")
    half.replace(path)
