"""A student forgotten: every file, row and line of theirs that is in the class folder."""

import json
import os
import re
import shutil
from pathlib import Path

from .. import release
from . import attempts, collect, gradebook, outcomes, roster, tables

FOLDERS = ("received", "submitted", "autograded", "feedback")
DERIVED = ("grades.csv", "report.html", "marks.html", "grading.log")


def places(folder: Path, student: str) -> list[Path]:
    """The folders that hold a student's work."""
    return [path for name in FOLDERS if (path := folder / name / student).is_dir()]


def mentions(folder: Path, student: str) -> list[Path]:
    """Files of the class that still hold the student's id as a word."""
    sign = re.compile(rb"(?<![\w.@-])" + re.escape(student.encode()) + rb"(?![\w@-])")
    # The journal's notebooks are compressed and in base 85, which spells short ids by chance, but no quotes.
    quoted = re.compile(re.escape(json.dumps(student).encode()))
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    signs = {path: quoted if path.name.startswith("journal-") else sign for path in files}
    return [path for path, wanted in signs.items() if wanted.search(path.read_bytes())]


def forget(folder: Path, student: str) -> list[str]:
    """Delete a student from the class; what was deleted, in words.

    What lies outside the folder is not touched: an exchange, an LMS, copies and exports.
    """
    done = []
    for path in places(folder, student):
        count = sum(1 for one in path.rglob("*") if one.is_file())
        shutil.rmtree(path)
        done.append(f"{path.relative_to(folder)}/ with {count} files")
    if strange := collect.kept_of(folder, student):
        for path in strange:
            path.unlink()
        done.append(f"{len(strange)} files in unknown/")
    known = attempts.read(folder)
    if kept := [one for one in known if one.student != student]:
        attempts.write(folder, kept)
    elif known:
        (folder / "received" / "attempts.csv").unlink(missing_ok=True)
    if len(kept) < len(known):
        done.append(f"{len(known) - len(kept)} lines of received/attempts.csv")
    if release.facts(folder)["exercises"] and (count := gradebook.forget(folder, student)):
        done.append(f"{count} submissions in the gradebook, with their marks and comments")
    said = outcomes.read(folder)
    if any(who == student for who, _ in said):
        outcomes.rewrite(folder, [one for (who, _), one in said.items() if who != student])
        done.append(f"their lines of {outcomes.NAME}")
    students = roster.read(folder)
    if students.pop(student, None):
        roster.write(folder, students.values())
        done.append("their line of students.csv")
    done += _own_deadlines(folder, student)
    done += _own_verdicts(folder, student)
    for name in DERIVED:
        if (path := folder / name).exists():
            path.unlink()
            done.append(f"{name}, which is made anew when it is asked for")
    return done


def _own_verdicts(folder: Path, student: str) -> list[str]:
    """Take a student's verdicts out of the journal, a line each that begins with its key."""
    journals = list(folder.glob("journal-*"))
    if not journals:
        return []
    from ..engine.journal import MARK  # Windows has no engine, and no journals

    sign, done = b'{"student":' + json.dumps(student).encode() + b",", []
    for path in journals:
        part = path.with_name(f".{path.name}.part")
        with path.open("rb") as old, open(part, "wb", opener=_private) as new:
            # Behind key and checksum stands the verdict; a line that is damaged may be anybody's.
            new.writelines(
                line for line in old if sign not in line[: 80 + len(sign)] and not line.startswith(MARK)
            )
        if part.stat().st_size < path.stat().st_size:
            done.append("their verdicts in the journal")
        part.replace(path)
    return done


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)


def _own_deadlines(folder: Path, student: str) -> list[str]:
    path = folder / "deadlines.csv"
    rows = tables.read(path) if path.exists() else []
    kept = [row for row in rows if row.get("student") != student]
    if len(kept) == len(rows):
        return []
    release.write(path, tables.write(kept, list(rows[0])))
    return ["their lines of deadlines.csv"]
