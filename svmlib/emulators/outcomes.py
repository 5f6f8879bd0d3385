"""What a program came to: an entry for each operation and the state at the end; and how two are compared."""

import re
from collections.abc import Callable
from functools import cache
from struct import Struct
from typing import NamedTuple

from ..registers import REGISTERS
from ..vmcb import CONTROL
from . import layout as at
from .programs import Operation, Program, flat
from .rom import Batch
from .runtime import DONE, INTR_MARK, NMI_MARK, STATE_BYTES, STATE_MSRS, STATE_REGISTERS


class EmulatorError(RuntimeError):
    """An emulator that is missing, of another version, or that did not come to the end."""


#: vector + 1 or 0, error code, result: as logged for each operation.
ENTRY = Struct("<IIQ")

#: The words that the state begins with; WAITING is 1 for an interrupt that was not taken, 1 << 32 for an NMI.
WORDS = (
    "RFLAGS",
    *(name + ".selector" if name[1:] == "S" else name for name in STATE_REGISTERS),
    *STATE_MSRS,
    *("GIF", "WAITING"),
)
PAGES = dict(zip(("HOST", "GUEST", "SPARE", "VMCB"), at.POOL, strict=True))

_FAULTS = {6: "#UD", 8: "#DF", 10: "#TS", 11: "#NP", 12: "#SS", 13: "#GP", 14: "#PF"}


class Outcome(NamedTuple):
    """The bytes that the runtime leaves of one program."""

    state: bytes
    entries: bytes
    #: The operations that were executed, where it is known: not those that a guest did not come to; EVENTINJ
    #: where VMRUN injected an exception.
    done: Program = ()


class Difference(NamedTuple):
    """Where two outcomes differ: at an operation (its number), or at the end (None) in a field."""

    step: int | None
    what: str
    left: str
    right: str


def from_log(log: bytes, batch: Batch) -> list[Outcome]:
    """Cut the log of `batch` into outcomes; EmulatorError when it does not say that it is complete."""
    if int.from_bytes(log[:8], "little") != DONE:
        raise EmulatorError("the log has no end mark: the runtime did not come to the end of its programs")
    return [
        Outcome(log[place : place + STATE_BYTES], log[place + STATE_BYTES : place + length])
        for place, length in batch.slots
    ]


@cache
def fields() -> dict[str, tuple[int, int]]:
    """Field of the state -> (offset, bytes)."""
    places = {name: (8 * n, 8) for n, name in enumerate(WORDS)}
    place = 8 * len(WORDS)
    for table in ("GDTR", "IDTR"):
        places |= {f"{table}.limit": (place, 2), f"{table}.base": (place + 2, 8)}
        place += 16
    for start, end in ((0x440, 0x4A0), (0x600, 0x640)):
        places |= _save_area("", place, start, end)
        place += end - start
    for page in PAGES:
        for start, end in at.CONTROL_PARTS:
            places |= {
                f"{page}[{name}]": (place + offset - start, bits // 8)
                for name, (offset, bits) in CONTROL.items()
                if start <= offset < end
            }
            place += end - start
        places |= _save_area(page, place, at.SAVE_AREA, at.SAVE_END)
        place += at.SAVE_END - at.SAVE_AREA
    for name, size in (("GDT", at.TABLES_BYTES), ("second GDT", at.OTHER_BYTES)):
        places |= {f"{name}+{n:#x}": (place + n, 8) for n in range(0, size, 8)}
        place += size
    return places


def _save_area(page: str, place: int, start: int, end: int) -> dict[str, tuple[int, int]]:
    return {
        (f"{page}[{name}]" if page else name): (place + row.vmcb - start, row.bits // 8)
        for name, row in REGISTERS.items()
        if row.vmcb is not None and start <= row.vmcb < end and (page or row.carrier == "VMSAVE")
    }


#: Bits that are compared where it is not all of them, and why not.
MASKS: dict[str, tuple[int, str]] = {
    "RFLAGS": (0x200, "the runtime's own code changes the arithmetic flags; IF is compared"),
    "TR.attrib": (0xFFD, "the busy bit as VMSAVE shows it: linux-svm-c-2025 says hardware may not expose it"),
}
for _page in PAGES:
    MASKS |= {
        f"{_page}[TR.attrib]": (0xFFD, "as TR.attrib"),
        f"{_page}[RFLAGS]": (0x200, "as RFLAGS"),
        f"{_page}[RIP]": (0, "where the guest's code lies is the runtime's business"),
        f"{_page}[RSP]": (0, "as RIP"),
        f"{_page}[RAX]": (0, "a scratch register of the runtime"),
    }
#: EXITINTINFO and EVENTINJ mean nothing while it is clear.
_VALID = 1 << 31
#: After a refusal it is what an earlier guest left in the processor, and so is whether PAT was stored.
_V_TPR = 0xF
#: What is compared of a segment register that is not present: the selector, the base, and that it is not;
#: of a null SS, which IRET makes present on QEMU, selector and base.
_PRESENT = 0x80


@cache
def _mask() -> int:
    mask = bytearray(STATE_BYTES)
    for name, (offset, size) in fields().items():
        bits = MASKS[name][0] if name in MASKS else -1
        mask[offset : offset + size] = (bits & ((1 << 8 * size) - 1)).to_bytes(size, "little")
    return int.from_bytes(mask, "little")


@cache
def _depends() -> dict[str, tuple[str, Callable[[int], bool], int]]:
    """Field -> another field, what it has to be for all bits to count, the bits that count otherwise."""
    found: dict[str, tuple[str, Callable[[int], bool], int]] = {}
    for name in fields():
        page, inner, register = name.rpartition("[")
        stem, _, part = register.rstrip("]").rpartition(".")
        attrib = f"{page}{inner}{stem}.attrib{']' * bool(inner)}"
        if (attrib in fields() and part in ("attrib", "limit")) or (part == "base" and stem == "LDTR"):
            found[name] = (attrib, lambda bits: bool(bits & _PRESENT), 0)
            if page and stem == "SS":
                found[name] = (f"{page}[SS.selector]", lambda selector: selector > 3, 0)
        elif register in ("EXITINTINFO]", "EVENTINJ]"):
            found[name] = (name, lambda event: bool(event & _VALID), 0)
        elif page and register in ("INT_CTL]", "PAT]"):
            bits = ~_V_TPR if register == "INT_CTL]" else 0
            found[name] = (f"{page}[EXITCODE]", lambda code: code & 0xFFFF_FFFF != 0xFFFF_FFFF, bits)
    return found


def _value(state: bytes, name: str) -> int:
    """A field of the state, with what is not compared masked away."""
    place, size = fields()[name]
    value = int.from_bytes(state[place : place + size], "little")
    if name in MASKS:
        value &= MASKS[name][0]
    if depends := _depends().get(name):
        other, counts, bits = depends
        place, size = fields()[other]
        if not counts(int.from_bytes(state[place : place + size], "little")):
            value &= bits
    return value


def decode(state: bytes) -> dict[str, int]:
    """The state as fields, with what is not compared masked away."""
    return {name: _value(state, name) for name in fields()}


@cache
def _owners() -> tuple[str, ...]:
    """The field of each byte of the state, or "" between them."""
    owners = [""] * STATE_BYTES
    for name, (place, size) in fields().items():
        owners[place : place + size] = [name] * size
    return tuple(owners)


def _unlike(left: bytes, right: bytes) -> list[str]:
    """The fields in which two states differ, in their order."""
    if left == right:
        return []
    number = int.from_bytes
    bits = (number(left, "little") ^ number(right, "little")) & _mask()
    owners = _owners()
    runs = re.finditer(rb"[^\0]+", bits.to_bytes(STATE_BYTES, "little"))
    raw = dict.fromkeys(owners[place] for run in runs for place in range(*run.span()))
    return [name for name in raw if _value(left, name) != _value(right, name)]


def differences(program: Program, left: Outcome, right: Outcome) -> list[Difference]:
    """Where two outcomes of `program` differ, in the order of its operations, then in the state."""
    found = []
    if left.entries != right.entries:
        done = left.done or tuple(flat(program))
        pairs = zip(done, ENTRY.iter_unpack(left.entries), ENTRY.iter_unpack(right.entries), strict=False)
        for index, (operation, one, other) in enumerate(pairs):
            if one != other:
                found.append(Difference(index, label(operation), entry(*one), entry(*other)))
        ran = ENTRY.size * len(done)
        if not found and left.entries[ran:] != right.entries[ran:]:
            found.append(Difference(len(done), "an operation that only one of them ran", "", ""))
    return found + [
        Difference(None, name, f"{_value(left.state, name):#x}", f"{_value(right.state, name):#x}")
        for name in _unlike(left.state, right.state)
    ]


def entry(vector: int, code: int, result: int) -> str:
    """An entry of the log in words."""
    words = [f"{result:#x}"]
    if vector & 0xFF:
        fault = _FAULTS.get((vector & 0xFF) - 1, f"vector {(vector & 0xFF) - 1}")
        words = [f"{fault}({code:#x})"]
    for name, mark in (("INTR", INTR_MARK), ("NMI", NMI_MARK)):
        if count := vector // mark & 0xFF:
            words.append(name if count == 1 else f"{count} {name}s")
    return ", ".join(words)


def label(operation: Operation) -> str:
    """An operation on one line; a guest's program is left out."""
    parts = [part for part in operation if isinstance(part, str | int)]
    return " ".join(part if isinstance(part, str) else f"{part:#x}" for part in parts)
