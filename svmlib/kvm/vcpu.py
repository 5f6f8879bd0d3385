"""What KVM keeps for a vCPU: plain-data fields in memory, each access a load or a store on the trace."""

from types import MappingProxyType
from typing import Any

from ..processor import Processor


class Vcpu:
    """A vCPU as a path sees it: fields that it may read, assign and add.

    `vmcb_pa` is the physical address of its VMCB, `cpu` the number of the CPU it is loaded on,
    `guest_state_loaded` a flag for the path (False at first).  A path may add fields; they hold numbers,
    bools, None, text, bytes, lists and dicts of these, and come back read-only: assign a list or dict whole.
    """

    __slots__ = ("_fields", "_processor")

    def __init__(self, processor: Processor, **fields: Any):
        """Begin with `fields`; accesses go onto `processor`'s trace, later the one of its CPU."""
        object.__setattr__(self, "_processor", processor)
        object.__setattr__(self, "_fields", fields)

    def __getattr__(self, name: str) -> Any:
        """Load a field; AttributeError names it when nothing was stored there."""
        try:
            value = self._fields[name]
        except KeyError:
            known = ", ".join(name for name in self._fields if not name.startswith("_"))
            message = f"vcpu has no field {name!r} yet; it has {known}.  Assign it earlier in the path"
            raise AttributeError(message) from None
        if isinstance(value, int) and not value >> 64:
            self._processor.record("MOV r,m", f"vcpu.{name}", value)
        else:
            self._processor.record("MOV r,m", f"vcpu.{name}", times=words(value))
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        """Store a field; TypeError for what is no plain data."""
        if type(value) is int and not value >> 64:
            self._fields[name] = value
            self._processor.record("MOV m,r", f"vcpu.{name}", value)
        else:
            value = self._fields[name] = plain(value)
            self._processor.record("MOV m,r", f"vcpu.{name}", times=words(value))

    def __repr__(self) -> str:
        """Show the fields."""
        return f"Vcpu({', '.join(f'{name}={value!r}' for name, value in self._fields.items())})"


_PLAIN = (int, bool, str, bytes, type(None))


def plain(value: Any) -> Any:
    """Return `value` as it is stored: read-only if a list or dict; TypeError if it is no plain data."""
    # By type, not isinstance: a subclass of int can carry anything along.
    if type(value) in _PLAIN:
        return value
    if isinstance(value, (list, tuple)):
        return tuple([plain(item) for item in value])
    if isinstance(value, (dict, MappingProxyType)):
        return MappingProxyType({plain(key): plain(item) for key, item in value.items()})
    message = (
        f"a vcpu field holds numbers, text, bytes, None, lists and dicts of these, not {type(value).__name__}"
    )
    raise TypeError(message)


def words(value: Any) -> int:
    """Count the machine words of a stored value: each is one access."""
    if isinstance(value, (tuple, MappingProxyType)):
        items = value if isinstance(value, tuple) else value.values()
        return max(1, sum(words(item) for item in items))
    if isinstance(value, int):
        return max(1, -(-value.bit_length() // 64))
    return max(1, -(-len(value) // 8)) if isinstance(value, (str, bytes)) else 1


def static_cpu_has(vcpu: Vcpu, feature: str) -> bool:
    """static_cpu_has(): whether the host uses a CPU feature, say "FSGSBASE".

    Not on the trace: Linux patches these tests out of its code at boot, so the choice costs no instruction.
    """
    return feature in vcpu._fields["_features"]
