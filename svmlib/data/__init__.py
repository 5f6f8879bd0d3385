"""Every fact the model rests on, as CSV tables in which each row names its source."""

import csv
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent


@cache
def rows(table: str) -> tuple[dict[str, str], ...]:
    """Return the rows of `table`, a file name here without its .csv, one dict of strings a row.

    Raises KeyError, with the tables that exist, for a name that is none of them.
    """
    path = FOLDER / f"{table}.csv"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.csv")))
        raise KeyError(f"no data table {table!r}; the tables are {known}")
    with path.open(newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))
