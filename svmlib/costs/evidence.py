"""All that is known of an event: every row on it, of all CPUs, those that contradict each other included."""

from typing import NamedTuple

from ..data import rows
from .prices import LABELS, PriceError

#: Table -> the column that says where a row holds, and the one that says how it came about.
_TABLES = {
    "prices": ("price_list", "note"),
    "estimates": ("price_list", "note"),
    "measurements": ("cpu", "method"),
}


class Evidence(NamedTuple):
    """One row on an event; no numbers where a source has only words."""

    event: str
    #: The price list or CPU that it is of.
    on: str
    low: str
    nominal: str
    high: str
    unit: str
    label: str
    #: False for a figure from memory, which enters no price list by itself.
    verified: bool
    source: tuple[str, ...]
    how: str

    @property
    def known(self) -> str:
        """The label with its glyph, and what was not verified said so."""
        return f"{LABELS[self.label][0]} {self.label}" + ("" if self.verified else ", UNVERIFIED: in no list")


def evidence(event: str) -> list[Evidence]:
    """Return the rows on `event`, prices first; PriceError where nothing is known.

    A row is on an event that it names first ("WRMSR TSC_AUX", "VMLOAD, timed"), or whose price it feeds.
    """
    found = [
        Evidence(
            row["event"],
            row[on],
            row["low"],
            row["nominal"],
            row["high"],
            row["unit"],
            row["label"],
            row.get("verified") != "no",
            tuple(row["source"].split()),
            row[how],
        )
        for table, (on, how) in _TABLES.items()
        for row in rows(table)
        if row.get("prices") == event or f"{row['event']} ".replace(",", " ").startswith(f"{event} ")
    ]
    if not found:
        known = "events are named as on a bill: VMLOAD, WRMSR, LTR, CPUID"
        raise PriceError(f"nothing is known of {event!r}; {known}")
    return found
