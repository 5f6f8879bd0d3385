"""The VMCB page byte for byte: which registers lie where, and how to read, write and print them there."""

from collections.abc import Sequence
from itertools import pairwise
from operator import itemgetter
from struct import Struct

from .data import rows
from .memory import Memory
from .registers import REGISTERS, Register, carried_by, register
from .trace import Trace

_CODES = {8: "B", 16: "H", 32: "I", 64: "Q"}

#: Fields of the control area by the manual's name: (offset, bits).
CONTROL: dict[str, tuple[int, int]] = {
    row["field"]: (int(row["offset"], 16), int(row["bits"])) for row in rows("vmcb_control")
}


class Layout:
    """A set of registers as runs of adjacent bytes in a VMCB, so that few calls move them all.

    `names` gives the order of values in `read` and `write`: that of the offsets.
    """

    def __init__(self, names: Sequence[str]):
        """Lay out `names`, registers that have a place in the VMCB."""
        fields = sorted((REGISTERS[name] for name in names), key=_offset)
        self.names = tuple(field.name for field in fields)
        #: The values of `names`, in order, out of a mapping of registers.
        self.values = itemgetter(*self.names)
        self._runs: list[tuple[Struct, int, slice]] = []
        start = 0
        ends = [
            end for end, (a, b) in enumerate(pairwise(fields), 1) if _offset(a) + a.bits // 8 != _offset(b)
        ]
        for end in [*ends, len(fields)]:
            run = fields[start:end]
            codes = Struct("<" + "".join(_CODES[field.bits] for field in run))
            self._runs.append((codes, _offset(run[0]), slice(start, end)))
            start = end
        self._first = _offset(fields[0])
        self._span = Struct(f"{_offset(fields[-1]) + fields[-1].bits // 8 - self._first}s")

    def image(self, page: bytearray) -> bytes:
        """Return the bytes of `page` from the first of the registers to the last."""
        image: bytes = self._span.unpack_from(page, self._first)[0]
        return image

    def read(self, image: bytes) -> tuple[int, ...]:
        """Return the values in `image`, in the order of `names`."""
        values: tuple[int, ...] = ()
        for codes, offset, _ in self._runs:
            values += codes.unpack_from(image, offset - self._first)
        return values

    def write(
        self, page: bytearray, values: tuple[int, ...], pa: int = 0
    ) -> tuple[tuple[int, bytes, bytes], ...]:
        """Store `values` in the order of `names`.

        Returns, for a Step, (`pa` + offset, old bytes, new bytes) of the span from the first to the last of
        them; the bytes between that belong to other registers stay as they were.
        """
        old = self.image(page)
        for codes, offset, part in self._runs:
            codes.pack_into(page, offset, *values[part])
        return ((pa + self._first, old, self.image(page)),)


def _offset(field: Register) -> int:
    if field.vmcb is None:
        raise KeyError(f"{field.name} has no place in the VMCB; software carries it")
    return field.vmcb


class Vmcb:
    """A VMCB in memory, read and written by register name or control-area field.

    >>> Vmcb(Memory(), 0x1000)["LSTAR"]
    0
    """

    def __init__(self, memory: Memory, pa: int):
        """Look at the page at physical address `pa` as a VMCB."""
        self.pa = pa
        self.page = memory.page(pa)

    def _place(self, name: str) -> tuple[int, int]:
        if name in CONTROL:
            offset, bits = CONTROL[name]
        else:
            row = register(name)
            offset, bits = _offset(row), row.bits
        return offset, bits // 8

    def __getitem__(self, name: str) -> int:
        """Return what the page holds for `name`; KeyError names it when the VMCB has no such field."""
        offset, size = self._place(name)
        return int.from_bytes(self.page[offset : offset + size], "little")

    def __setitem__(self, name: str, value: int) -> None:
        """Store `value`; OverflowError when the field is too narrow for it."""
        offset, size = self._place(name)
        self.page[offset : offset + size] = value.to_bytes(size, "little")

    def __repr__(self) -> str:
        """Print the page as a table: the control area's fields that are not zero, then the save area."""
        lines = [f"VMCB at {self.pa:#x}", "control area"]
        lines += [f"  {at:#05x}  {name:16} {self._control(name)}" for name, at in _SHOWN if self[name]]
        lines += ["save area            selector attrib limit    base"]
        segments = [name.removesuffix(".base") for name in REGISTERS if name.endswith(".base")]
        for name in segments:
            parts = [self._part(name, part, width) for part, width in _PARTS]
            lines.append(f"  {_offset(REGISTERS[f'{name}.limit']) & ~0xF:#05x}  {name:10} {' '.join(parts)}")
        rest = [row for row in REGISTERS.values() if row.vmcb is not None and "." not in row.name]
        lines += [f"  {row.vmcb:#05x}  {row.name:12} {self[row.name]:#x}" for row in rest if self[row.name]]
        return "\n".join(lines)

    def _control(self, name: str) -> str:
        if name != "INTERCEPTS":
            return f"{self[name]:#x}"
        bits = self[name]
        return " ".join(_INTERCEPTS.get(bit, f"{bit:#x}") for bit in range(160) if bits >> bit & 1)

    def _part(self, segment: str, part: str, width: int) -> str:
        name = f"{segment}.{part}"
        shown = f"{self[name]:0{REGISTERS[name].bits // 4}x}" if name in REGISTERS else ""
        return shown.ljust(width)

    def hex_map(self, trace: Trace) -> str:
        """Print the bytes that the last VMSAVE of `trace` into this page wrote, by row of sixteen.

        A byte that it left alone is two dots; one that it changed has a star behind it.  The line's end names
        the registers.  A sentence instead where no VMSAVE wrote here.
        """
        for step in reversed(trace[:]):
            if step.event == "VMSAVE" and step.memory and step.memory[0][0] & ~0xFFF == self.pa:
                ((first, old, new),) = step.memory
                break
        else:
            return f"No VMSAVE wrote to the page at {self.pa:#x}."
        owner = {
            _offset(row) + n: name.partition(".")[0]
            for name in carried_by("VMSAVE")
            for row in (REGISTERS[name],)
            for n in range(row.bits // 8)
        }
        start = first - self.pa
        lines = []
        for line in range(start & ~0xF, start + len(new), 16):
            names = list(dict.fromkeys(owner[at] for at in range(line, line + 16) if at in owner))
            if names:
                cells = [
                    f"{new[at - start]:02x}" + ("*" if new[at - start] != old[at - start] else " ")
                    if at in owner
                    else ".. "
                    for at in range(line, line + 16)
                ]
                lines.append(f"{line:#05x} {''.join(cells)} {' '.join(names)}")
        return "\n".join(lines)


#: The control area's fields in the order of their offsets; the words of INTERCEPTS are shown in it.
_SHOWN = tuple((name, at) for name, (at, _) in CONTROL.items() if not name.startswith("INTERCEPT_"))
_INTERCEPTS = {int(row["exitcode"], 16): row["name"] for row in rows("exitcodes")}
_PARTS = (("selector", 8), ("attrib", 6), ("limit", 8), ("base", 16))
