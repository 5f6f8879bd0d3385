"""The bugs on record, a small module each: the broken variant, the host on which it bites, the fixed one.

A module has `BROKEN` and `FIXED`.  Most are a `Case`, which the explorer is given: a path, a host, bounds.
The others are functions that run the model by itself and return what somebody notices, "" if nobody does.
Year, commit, symptom and rule are in data/bugs.csv, with those left out and why.
"""

from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace
from typing import Any, NamedTuple

from ..data import rows
from ..explorer import Bounds, Exploration, explore
from ..kvm.exits import ARRIVALS, EXITCODES
from ..kvm.host import Host
from ..kvm.machine import FUNCTIONS


class Case(NamedTuple):
    """A path on a host, and how far it has to be explored."""

    path: Any
    host: Host
    bounds: Bounds = Bounds(exits=1, periods=2, events=1, migrations=0)
    #: Kinds of exits and events, where they are others than usual.
    kinds: tuple[str, ...] = tuple(EXITCODES)
    arrivals: tuple[str, ...] = tuple(ARRIVALS)


class Bug(NamedTuple):
    """A bug on record: a row of data/bugs.csv."""

    bug: str
    year: str
    commit: str
    title: str
    symptom: str
    #: The rule that the broken variant breaks; "" where the model tells by itself.
    rule: str
    #: "explorer", "model", or "left out".
    by: str
    source: str

    @property
    def module(self) -> Any:
        """The module of the scenario; ModuleNotFoundError for a bug that is left out."""
        return import_module(f"{__name__}.{self.bug.lower()}")


BUGS: dict[str, Bug] = {row["bug"]: Bug(**row) for row in rows("bugs")}


def variant(path: Any, name: str, **functions: Any) -> SimpleNamespace:
    """Return `path` with some of its functions replaced; None leaves one out."""
    names = (*FUNCTIONS, "on_user_return", "CARRIES")
    taken = {one: getattr(path, one) for one in names if hasattr(path, one)} | functions
    return SimpleNamespace(__name__=name, **{one: f for one, f in taken.items() if f is not None})


def outcome(case: Case | Callable[[], str]) -> Exploration | str:
    """Explore a case, or let the model tell; "" and a clean exploration are nothing wrong."""
    if not isinstance(case, Case):
        return case()
    return explore(case.path, case.host, case.bounds, kinds=case.kinds, arrivals=case.arrivals)
