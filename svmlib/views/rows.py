"""Which registers a view shows: a row is one register, or parts of a segment register together."""

from collections.abc import Sequence
from typing import NamedTuple

from ..registers import register

_SEGMENTS = ("ES", "CS", "SS", "DS", "FS", "GS", "LDTR", "TR")
_GROUPS = {
    "KernelGSBase": "GS",
    **dict.fromkeys(("STAR", "LSTAR", "CSTAR", "SFMASK"), "SYSCALL"),
    **dict.fromkeys(("SYSENTER_CS", "SYSENTER_ESP", "SYSENTER_EIP"), "SYSENTER"),
    "TSC_AUX": "RDTSCP",
}


class Row(NamedTuple):
    """A line of a state table: its group, its label with a note, and the registers whose values it shows."""

    group: str
    label: str
    note: str
    names: tuple[str, ...]


def row(name: str) -> Row:
    """Return the row of register `name`.

    "TR" is its four parts, "FS.hidden" those without the base.  KeyError names what there is.
    """
    stem, _, part = name.partition(".")
    if stem in _SEGMENTS and part in ("", "hidden"):
        names = tuple(f"{stem}.{each}" for each in ("selector", "attrib", "limit"))
        if part:
            return Row(stem, stem, "sel attrib limit", names)
        return Row(stem, stem, "base sel attrib limit", (f"{stem}.base", *names))
    group = _GROUPS.get(name, stem)
    return Row(group, register(name).name, "" if group in name else group, (name,))


#: What VMSAVE moves, and TSC_AUX, which nothing of SVM does.
DEFAULT = tuple(
    row(name)
    for name in (
        "FS.base", "FS.hidden", "GS.base", "KernelGSBase", "GS.hidden", "LDTR.base", "LDTR.hidden",
        "TR.base", "TR.hidden", "STAR", "LSTAR", "CSTAR", "SFMASK",
        "SYSENTER_CS", "SYSENTER_ESP", "SYSENTER_EIP", "TSC_AUX",
    )
)  # fmt: skip


def rows_of(names: Sequence[str] | None) -> tuple[Row, ...]:
    """Return the rows for `names`, or those of every lesson where there are none."""
    return DEFAULT if names is None else tuple(row(name) for name in names)


def registers_of(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return every register that `rows` show, once."""
    return tuple(dict.fromkeys(name for each in rows for name in each.names))
