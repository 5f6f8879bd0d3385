"""What lies where in a VMCB page, as stretches of bytes, out of the register table."""

from collections.abc import Iterable
from typing import NamedTuple

from ..memory import PAGE
from ..registers import REGISTERS, carried_by
from ..trace import Step
from ..vmcb import CONTROL


class Field(NamedTuple):
    """A field of the page: name, place, and who carries it: a carrier of the table, or "control"."""

    name: str
    offset: int
    size: int
    carrier: str


#: Every field of the page in the order of its bytes.
FIELDS: tuple[Field, ...] = tuple(
    sorted(
        [Field(name, offset, bits // 8, "control") for name, (offset, bits) in CONTROL.items()]
        + [Field(r.name, r.vmcb, r.bits // 8, r.carrier) for r in REGISTERS.values() if r.vmcb is not None],
        key=lambda field: field.offset,
    )
)
_BY_NAME = {field.name: field for field in FIELDS}
#: The fields that an instruction stores.
STORED: dict[str, tuple[Field, ...]] = {
    "VMSAVE": tuple(_BY_NAME[name] for name in carried_by("VMSAVE")),
    "#VMEXIT": (
        _BY_NAME["EXITCODE"],
        *(_BY_NAME[name] for name in carried_by("VMRUN") if name in _BY_NAME),
    ),
}


def stretches(fields: Iterable[Field]) -> list[tuple[int, int]]:
    """Return the bytes of `fields` as stretches, (first offset, offset after the last), neighbours joined."""
    joined: list[tuple[int, int]] = []
    for field in sorted(fields, key=lambda field: field.offset):
        start, stop = field.offset, field.offset + field.size
        if joined and joined[-1][1] == start:
            joined[-1] = joined[-1][0], stop
        else:
            joined.append((start, stop))
    return joined


def written(step: Step) -> list[tuple[int, int]]:
    """Return what `step` stored, as stretches of offsets in the page that it stored to."""
    if step.event in STORED and step.memory:
        return stretches(STORED[step.event])
    return [(pa % PAGE, pa % PAGE + len(new)) for pa, _, new in step.memory]
