"""Tables that other programs wrote: a CSV of any usual encoding and separator, read into rows."""

import csv
import io
from pathlib import Path
from typing import NamedTuple

from ..release import ReleaseError

ENCODINGS = ("utf-8-sig", "utf-16", "cp1252")
SEPARATORS = ",;\t"


class Table(NamedTuple):
    """A CSV file's names of columns, and each row with the number of its line."""

    columns: list[str]
    rows: list[tuple[int, dict[str, str]]]


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file by its first line's names; ReleaseError where it is none."""
    return [row for _, row in table(path).rows]


def table(path: Path) -> Table:
    """A CSV file with what tells where in it something stands; ReleaseError where it is none."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ReleaseError(f"{path} cannot be read: {error.strerror}") from None
    text = decode(data)
    first = next((line for line in text.splitlines() if line.strip()), "")
    if not first or "\0" in text:
        raise ReleaseError(f"{path} is not a CSV file: {'it is binary' if first else 'it is empty'}")
    separator = max(SEPARATORS, key=first.count)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        # A field in quotes may go over several lines: a row's number is the one that it ends in.
        (_, header), *rest = [(lines.line_num, line) for line in lines if any(map(str.strip, line))]
    except csv.Error as error:
        raise ReleaseError(f"{path} is not a CSV file: {error}") from None
    names = [name.strip() for name in header]
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise ReleaseError(f"{path} has two columns named {', '.join(twice)}: rename or delete one")
    blank = [""] * len(names)
    return Table(
        names,
        [(at, dict(zip(names, [*map(str.strip, line), *blank], strict=False))) for at, line in rest],
    )


def decode(data: bytes) -> str:
    """The text of a file, whichever of the usual encodings its program chose."""
    for encoding in ENCODINGS:
        if encoding == "utf-16" and data[:2] not in (b"\xff\xfe", b"\xfe\xff"):
            continue
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")


def write(rows: list[dict[str, str]], columns: list[str]) -> str:
    """Rows as the text of a CSV file."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def inert(value: str) -> str:
    """A field that a spreadsheet takes for text: what begins like a formula gets an apostrophe before it."""
    return f"'{value}" if value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
