"""The registers of a world switch as one table: place in the VMCB, who carries it, how WRMSR treats it."""

from types import SimpleNamespace
from typing import NamedTuple

from .data import rows

#: The features in use here; a row that wants another (column when) is out of the guest's reach: KVM
#: intercepts it.
IN_USE = frozenset({"", "nested paging"})


class Register(NamedTuple):
    """One row of data/registers.csv; a segment register has one row for each of its four parts."""

    name: str
    #: Width in bits, as the VMCB keeps it.
    bits: int
    #: Offset in the VMCB page, or None where the VMCB has no place for it.
    vmcb: int | None
    #: Who moves it across the switch: "VMRUN", "VMSAVE", "software", or "none" for what a guest cannot reach.
    carrier: str
    #: Whose value it holds right after #VMEXIT: "host", "guest" or "reset".
    after_exit: str
    #: The name of its MSR (the manual's, without blanks) and the number, or "" and None.
    msr_name: str
    msr: int | None
    #: What WRMSR does with a value: "any", "canonical", "low32", "sysenter", "page", "efer", "pat", "vm_cr",
    #: or "" where there is no MSR.  SPEC_CTRL, DEBUGCTL and XSS have reserved bits: there "any" simplifies.
    write: str
    #: Ids of data/sources.csv, separated by blanks.
    source: str


def _register(row: dict[str, str]) -> Register:
    in_use = row["when"] in IN_USE
    return Register(
        name=row["name"],
        bits=int(row["bits"]),
        vmcb=int(row["vmcb"], 16) if row["vmcb"] else None,
        carrier=row["carrier"] if in_use else "none",
        after_exit=row["after_exit"],
        msr_name=row["msr_name"],
        msr=int(row["msr"], 16) if row["msr"] else None,
        write=row["write"],
        source=row["source"],
    )


#: Every register by name.
REGISTERS: dict[str, Register] = {row["name"]: _register(row) for row in rows("registers")}

#: The registers that have an MSR, by its number.
BY_MSR: dict[int, Register] = {r.msr: r for r in REGISTERS.values() if r.msr is not None}

#: MSR numbers by name: MSR.LSTAR is 0xC0000082.
MSR = SimpleNamespace(**{r.msr_name: number for number, r in BY_MSR.items()})


def register(name: str) -> Register:
    """Return the row of register `name`; KeyError names the nearest registers when there is none."""
    try:
        return REGISTERS[name]
    except KeyError:
        stem = name.split(".", maxsplit=1)[0].lower()
        near = [known for known in REGISTERS if known.lower().startswith(stem)] or list(REGISTERS)[:6]
        raise KeyError(f"no register {name!r}; data/registers.csv has {', '.join(near)}") from None


def carried_by(carrier: str) -> tuple[str, ...]:
    """Return the names of the registers that `carrier` moves: "VMRUN", "VMSAVE" or "software".

    Those of VMSAVE, 24 rows of together 128 bytes, are what VMSAVE stores and VMLOAD loads.
    Raises ValueError for any other word.
    """
    if carrier not in ("VMRUN", "VMSAVE", "software"):
        raise ValueError(f"no carrier {carrier!r}; a register is carried by VMRUN, VMSAVE or software")
    return tuple(name for name, row in REGISTERS.items() if row.carrier == carrier)
