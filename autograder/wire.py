"""What crosses between the judge and a student's process: plain data as JSON, bounded, and nothing else.

A number, a text, True, False and None are written as they are, all else as a list that begins with its kind:

    ["l", ...]  a list      ["t", ...]  a tuple      ["s", ...]  a set      ["d", key, value, ...]  a dict
    ["b", hex]  bytes       ["x", ...]  a reference: an object that stays on its side and is only named

Both sides read this module. It builds none but these types, so what is read can carry no code along.
"""

import json
import socket
import struct
import time
from collections.abc import Callable, Mapping
from operator import index
from typing import Any

#: Bytes of a message, its values, how deep they are nested, characters of a text, bits of a number.
MESSAGE = 4_000_000
TEXT = 500_000
VALUES = 100_000
DEPTH = 40
BITS = 20_000
#: Members of a set, or keys of a dict, whose hashes may be those of others: more take minutes to sort out.
ALIKE = 1_000
#: Instructions that are posted at the latest together.
TOGETHER = 500

_SCALARS = frozenset((bool, int, float, str))
_LENGTH = struct.Struct("!I")


class WireError(TypeError):
    """What may not cross: no plain data, or too much of it."""


class Closed(Exception):
    """The other side is gone."""


class Late(Exception):
    """The other side did not answer in time."""


def encode(value: Any, reference: Callable[[Any], list[Any]] | None = None) -> Any:
    """Write `value` for the wire; what is no plain data goes through `reference`, or is a WireError."""
    if value is None or type(value) is bool:  # most values: not worth the functions below
        return value
    left = VALUES

    def write(value: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth > DEPTH:
            raise WireError(f"too much to hand over: more than {VALUES} values or {DEPTH} levels")
        kind = type(value)
        if value is None or kind is bool or kind is float:
            return value
        if kind in (str, bytes, bytearray) and len(value) > TEXT:
            raise WireError(f"a text of more than {TEXT} characters")
        if kind is str:
            return value
        if kind is int:
            return _bounded(value)
        if kind in (list, tuple, set, frozenset):
            return ["slt"[(kind is list) + 2 * (kind is tuple)], *(write(item, depth + 1) for item in value)]
        if kind in (bytes, bytearray):
            return ["b", value.hex()]
        if kind is dict:
            parts = [write(part, depth + 1) for pair in value.items() for part in pair]
            return ["d", *parts]
        return _number(value) if _is_number(kind) else _named(value, reference)

    return write(value, 0)


def _is_number(kind: type) -> bool:
    """Whether it is a number of another make: an enumeration's, or numpy's."""
    return issubclass(kind, int | float) or (
        kind.__module__ == "numpy" and kind.__name__ not in ("ndarray", "str_")
    )


def _number(value: Any) -> int | float:
    return _bounded(index(value)) if hasattr(type(value), "__index__") else float(value)


def _bounded(value: int) -> int:
    if value.bit_length() > BITS:
        raise WireError(f"a number of more than {BITS} bits")
    return value


def _named(value: Any, reference: Callable[[Any], list[Any]] | None) -> list[Any]:
    if reference is None:
        raise WireError(f"only plain data can be handed over, not {type(value).__name__}")
    return ["x", *reference(value)]


def decode(tree: Any, resolve: Callable[[list[Any]], Any] | None = None) -> Any:
    """Read what `encode` wrote; references go through `resolve`. WireError for anything malformed."""
    if tree is None or type(tree) in _SCALARS:
        return tree
    left = VALUES

    def read(tree: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth > DEPTH:
            raise WireError("too much was handed over")
        if type(tree) is not list:
            if tree is None or type(tree) in _SCALARS:
                return tree
            raise WireError("a value of no known kind")
        kind, rest = (tree[0], tree[1:]) if tree else ("", [])
        if kind == "x" and resolve is not None:
            return resolve(rest)
        if kind == "b" and len(rest) == 1 and type(rest[0]) is str:
            return bytes.fromhex(rest[0])
        items = [read(item, depth + 1) for item in rest]
        if kind in ("l", "t"):
            return items if kind == "l" else tuple(items)
        if kind == "s":
            return set(_unlike(items))
        if kind == "d" and len(items) % 2 == 0:
            _unlike(items[::2])
            return dict(zip(items[::2], items[1::2], strict=True))
        raise WireError("a value of no known kind")

    try:
        return read(tree, 0)
    except (TypeError, ValueError) as error:  # unhashable keys, no hex
        raise WireError(f"malformed: {error}") from None


def _unlike(items: list[Any]) -> list[Any]:
    """The items, which can be told apart by their hashes: any number of integers has the same one."""
    if len(items) > ALIKE and len(items) - len(set(map(hash, items))) > ALIKE:
        raise WireError("too many of the same hash")
    return items


class Channel:
    """One end of the connection: whole messages, each a JSON object."""

    def __init__(self, connection: socket.socket):
        """Speak over a connected stream socket, which is kept open."""
        self.connection = connection
        self.buffer = b""

    def send(self, message: Mapping[str, Any], seconds: float | None = None) -> None:
        """Send a message whole."""
        self.send_bytes(json.dumps(message, separators=(",", ":")).encode("ascii"), seconds)

    def send_bytes(self, data: bytes, seconds: float | None = None) -> None:
        """Send a message that is encoded already."""
        if len(data) > MESSAGE:
            raise WireError(f"a message of {len(data)} bytes; {MESSAGE} are allowed")
        self.connection.settimeout(seconds)
        try:
            self.connection.sendall(_LENGTH.pack(len(data)) + data)
        except TimeoutError:
            raise Late from None
        except OSError as error:
            raise Closed(str(error)) from None

    def receive_bytes(self, seconds: float | None = None) -> bytes:
        """Receive one message. Late after so many seconds; what has come by then is kept for next time."""
        end = None if seconds is None else time.monotonic() + seconds
        while True:
            if len(self.buffer) >= 4:
                (length,) = _LENGTH.unpack_from(self.buffer)
                if length > MESSAGE:
                    raise WireError(f"a message of {length} bytes; {MESSAGE} are allowed")
                if len(self.buffer) >= 4 + length:
                    data, self.buffer = self.buffer[4 : 4 + length], self.buffer[4 + length :]
                    return data
            self._fill(end)

    def _fill(self, end: float | None) -> None:
        left = None if end is None else end - time.monotonic()
        if left is not None and left <= 0:
            raise Late
        self.connection.settimeout(left)
        try:
            data = self.connection.recv(1 << 16)
        except TimeoutError:
            raise Late from None
        except OSError as error:
            raise Closed(str(error)) from None
        if not data:
            raise Closed("the connection was closed")
        self.buffer += data

    def receive(self, seconds: float | None = None) -> dict[str, Any]:
        """Receive one message as the object that it is."""
        return parse(self.receive_bytes(seconds))


def parse(data: bytes) -> dict[str, Any]:
    """Read a message; WireError unless it is one JSON object."""
    try:
        message = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise WireError(f"no message: {error}") from None
    if type(message) is not dict:
        raise WireError("no message: not an object")
    return message
