"""What was handed in, as programs pack it: nbgrader's exchange and course, Canvas, Moodle, or a plain folder.

    exchange  STUDENT+EXERCISE+TIME[+random]/…       times are exact
    course    STUDENT/EXERCISE/… and timestamp.txt, what nbgrader's own collect makes of the exchange
    canvas    name[_LATE]_ID_ID_file.ipynb in a zip  says late or not, and no times
    moodle    Full name_ID_assignsubmission_file_/…  in a zip, or in one name; times in the grading worksheet
    flat      STUDENT/EXERCISE/file, STUDENT/file or STUDENT_file, in a folder or a zip; times of the files

Nothing here is unpacked to a path that an archive names, and no member is read beyond a notebook's size.
"""

import re
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from ..release import ReleaseError
from ..submissions import LARGEST

KINDS = ("exchange", "course", "canvas", "moodle", "flat")
MOST = 200_000  # members of one archive
CANVAS = re.compile(r"(?P<name>[^_/]+?)(?P<late>_LATE)?_(?P<canvas>\d+)_(?P<piece>\d+)_(?P<file>[^/]+)$")
MOODLE = re.compile(r"(?P<name>[^/]+?)_(?P<moodle>\d+)_assignsubmission_(?:file|onlinetext)_?/?(?P<file>.*)$")
EXCHANGE = re.compile(r"(?P<student>.+?)\+(?P<exercise>[^+]+)\+(?P<time>[^+]+)(?:\+[^+]+)?$")
NBGRADERS = ("timestamp.txt", "submission_secret.txt", "")  # files of its own, and the folder itself
HIDDEN = re.compile(r"(^|/)(\.|__MACOSX/)")
ASTRAY = re.compile(r"[/\\]|[A-Za-z]:[/\\]|(.*[/\\])?\.\.([/\\]|$)")


class Found(NamedTuple):
    """A file that came in: whose it seems to be, its own name, when, and whether that time is exact."""

    origin: str
    who: dict[str, str]
    file: str
    when: datetime
    exact: bool
    late: bool
    data: bytes
    exercise: str = ""
    #: Why it is not taken, whoever it is from.
    refused: str = ""


class Member(NamedTuple):
    """A file of a folder or an archive, not read yet."""

    path: str
    when: datetime
    read: Callable[[], bytes]
    refused: str = ""


def members(place: Path) -> Iterator[Member]:
    """The files of a folder or a zip; a zip within a zip, as learners hand in, is opened once."""
    if place.is_dir():
        for path in sorted(place.rglob("*")):
            name = path.relative_to(place).as_posix()
            if path.is_file() and not path.is_symlink() and not HIDDEN.search(name):
                yield Member(name, datetime.fromtimestamp(path.stat().st_mtime, UTC), partial(_limited, path))
        return
    if place.suffix == ".ipynb":
        yield Member(place.name, datetime.fromtimestamp(place.stat().st_mtime, UTC), partial(_limited, place))
        return
    if not zipfile.is_zipfile(place):
        raise ReleaseError(f"{place} is neither a folder nor a zip archive nor a notebook")
    with zipfile.ZipFile(place) as archive:
        yield from _zipped(archive, "", nested=True)


def _limited(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LARGEST + 1)


def _zipped(archive: zipfile.ZipFile, prefix: str, *, nested: bool) -> Iterator[Member]:
    listed = archive.infolist()
    if len(listed) > MOST:
        raise ReleaseError(f"{archive.filename or prefix} has {len(listed):,} files; {MOST:,} are the most")
    for info in sorted(listed, key=lambda info: info.filename):
        name, when = prefix + info.filename, _time(info)
        if ASTRAY.match(info.filename):
            yield Member(name, when, bytes, "its name leads out of the archive")
            continue
        if info.is_dir() or HIDDEN.search(info.filename):
            continue
        if nested and info.filename.lower().endswith(".zip"):
            inner = _open(_member(archive, info))
            if inner is not None:
                with inner:
                    yield from _zipped(inner, f"{name}/", nested=False)
                continue
        yield Member(name, when, partial(_member, archive, info))


def _time(info: zipfile.ZipInfo) -> datetime:
    """When a member was packed: an archive keeps the packer's local time without its zone, or nonsense."""
    try:
        return datetime(*info.date_time).astimezone(UTC)
    except (ValueError, OverflowError):
        return datetime.now(UTC)


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """A member's bytes; what cannot be unpacked is empty, and is then named as no notebook."""
    try:
        with archive.open(info) as file:
            return file.read(LARGEST + 1)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError):
        return b""


def _open(data: bytes) -> zipfile.ZipFile | None:
    try:
        return zipfile.ZipFile(BytesIO(data))
    except zipfile.BadZipFile:
        return None


def inbound(place: Path) -> Path:
    """Where an exchange keeps what was handed in, given its folder, a course's in it, or just that."""
    courses = sorted(path.parent for path in place.glob("*/inbound") if path.is_dir())
    if (place / "inbound").is_dir():
        return place / "inbound"
    if len(courses) > 1:
        named = ", ".join(course.name for course in courses)
        raise ReleaseError(f"{place} is several courses' exchange ({named}): name {courses[0]} or another")
    return courses[0] / "inbound" if courses else place


def kind_of(place: Path) -> str:
    """Which of these a folder or archive is, from the names in it."""
    if inbound(place) != place:
        return "exchange"
    names = [member.path for member in members(place) if not member.refused]
    exchange = [name for name in names if EXCHANGE.match(name.split("/")[0])]
    for kind, known in (
        ("exchange", exchange),
        ("course", [name for name in names if (place / name).with_name("timestamp.txt").is_file()]),
        ("moodle", [name for name in names if MOODLE.match(name)]),
        ("canvas", [name for name in names if CANVAS.match(name.split("/")[0])]),
    ):
        if known and len(known) * 2 >= len(names):
            return kind
    return "flat"


def read(place: Path, kind: str = "", times: dict[str, datetime] | None = None) -> Iterator[Found]:
    """The notebooks of a folder or archive, and all other files, as they were handed in.

    `times` are a worksheet's exact times by Moodle's number.
    """
    if not place.exists():
        raise ReleaseError(f"{place} does not exist")
    kind = kind or kind_of(place)
    if kind == "exchange":
        place = inbound(place)
    readers: dict[str, Callable[[Member], Found | None]] = {
        "exchange": _exchange,
        "course": partial(_course, place),
        "canvas": _canvas,
        "moodle": _moodle,
        "flat": _flat,
    }
    reader = readers[kind]
    for member in members(place):
        found = _refused(member) if member.refused else reader(member)
        if found is None:
            continue
        if times and found.who.get("moodle", "") in times:
            found = found._replace(when=times[found.who["moodle"]], exact=True)
        yield found._replace(origin=f"{place.name}:{member.path}")


def _refused(member: Member) -> Found | None:
    return Found("", {}, member.path, member.when, False, False, b"", refused=member.refused)


def _exchange(member: Member) -> Found | None:
    """A file of the exchange, but for nbgrader's own two; the time is in the folder's name."""
    top, _, rest = member.path.partition("/")
    if rest in NBGRADERS:
        return None
    parts = EXCHANGE.match(top)
    if not parts:
        return Found("", {}, member.path, member.when, False, False, member.read())
    try:
        when = _utc(parts["time"])
    except ValueError:
        when = member.when
    who = {"student": parts["student"]}
    return Found("", who, rest, when, True, False, member.read(), parts["exercise"])


def _course(place: Path, member: Member) -> Found | None:
    """A file that nbgrader has collected; where it wrote no time, nobody knows it exactly."""
    student, _, rest = member.path.partition("/")
    exercise, _, file = rest.partition("/")
    if file in NBGRADERS:
        return None
    try:
        said = (place / student / exercise / "timestamp.txt").read_text(encoding="utf-8")
        when, exact = _utc(said), True
    except (OSError, ValueError):
        when, exact = member.when, False
    return Found("", {"student": student}, file or rest, when, exact, False, member.read(), exercise)


def _utc(text: str) -> datetime:
    """A time as nbgrader writes it."""
    return datetime.strptime(text.strip().removesuffix(" UTC"), "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC)


def _canvas(member: Member) -> Found:
    top, _, inner = member.path.partition("/")  # there is an inner path in a zip that a learner handed in
    parts = CANVAS.match(top)
    if not parts:
        return Found("", {}, member.path, member.when, False, False, member.read())
    who = {"canvas": parts["canvas"], "name": parts["name"]}
    file = re.sub(r"-\d+(\.\w+)$", r"\1", parts["file"])  # Canvas numbers what is handed in again
    return Found("", who, inner or file, member.when, False, bool(parts["late"]), member.read())


def _moodle(member: Member) -> Found:
    parts = MOODLE.match(member.path)
    if not parts:
        return Found("", {}, member.path, member.when, False, False, member.read())
    who = {"moodle": parts["moodle"], "name": parts["name"].rpartition("/")[2]}
    return Found("", who, parts["file"], member.when, False, False, member.read())


def _flat(member: Member) -> Found:
    """The first folder's name is the student's, or what stands before the first underscore of a file's."""
    folder, _, rest = member.path.partition("/")
    if rest:
        return Found("", {"student": folder}, rest, member.when, True, False, member.read())
    return Found("", {"prefix": folder}, folder, member.when, True, False, member.read())
