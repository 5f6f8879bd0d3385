"""A student's object as a test cell sees it: it can be called and asked for attributes, and is nothing
itself.

Data never stands in: it crosses, and is then of Python's own types. What stays in the student's process is
known by a name. It equals only itself, so no object of a student's can pass for a right answer.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from svmlib.instructions import Cpu
from svmlib.kvm import Vcpu

if TYPE_CHECKING:
    from .cells import Session

#: Attributes that Python looks for by itself; of these only some are a student's to answer.
_ASKED = {
    "__name__",
    "__doc__",
    "__code__",
    "__defaults__",
    "__kwdefaults__",
    "__annotations__",
    "__wrapped__",
}
_OF_MACHINE = frozenset((Cpu, Vcpu))
#: How many items a test cell may take out of an object.
MOST = 10_000


class StandIn:
    """Something of the student's, by the name under which their process knows it."""

    #: What a path's function does is learnt once for a test cell (behaviour.py): nobody need look twice.
    is_pure = True
    __slots__ = ("_attributes", "_callable", "_fields", "_key", "_label", "_missing", "_session")

    def __init__(self, session: "Session", key: str, label: str, *, is_callable: bool):
        """Stand for the object `key` of `session`; `label` is what it calls itself."""
        self._session, self._key, self._label, self._callable = session, key, label, is_callable
        self._attributes: dict[str, Any] = {}
        #: All its attributes, where it has told them.
        self._fields: dict[str, Any] | None = None
        self._missing: dict[str, str] = {}

    def __call__(self, *arguments: Any, **named: Any) -> Any:  # noqa: D102
        if not self._callable:
            raise TypeError(f"'{self._label}' object is not callable")
        if not _OF_MACHINE.isdisjoint(map(type, arguments)):
            if named:
                raise TypeError("cpu and vcpu are handed over by position")
            return self._session.machine(self._key, list(arguments))
        return self._session.call(self._key, list(arguments), named)

    def __getattr__(self, name: str) -> Any:
        if (name.startswith("__") and name not in _ASKED) or name in StandIn.__slots__:
            raise AttributeError(name)
        if name == "__name__" and self._callable:
            return self._label
        if self._fields is not None:
            if name not in self._fields:
                raise AttributeError(f"'SimpleNamespace' object has no attribute '{name}'")
            return self._fields[name]
        if name in self._missing:
            raise AttributeError(self._missing[name])
        if name not in self._attributes:
            try:
                self._attributes[name] = self._session.get(self._key, name)
            except AttributeError as error:
                self._missing[name] = str(error)
                raise
        return self._attributes[name]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._session.items(self._key, MOST))

    def __len__(self) -> int:
        return len(self._session.items(self._key, MOST))

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<the student's {self._label}>"
