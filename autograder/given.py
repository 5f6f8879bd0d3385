"""Data that an exercise gives its learners, but computes with what are answers elsewhere: the judge computes
it.

Where submissions run, the modules that compute it are not there. Their visible functions ask for the data.
"""

import importlib
from collections.abc import Callable
from functools import wraps
from typing import Any

from . import wire

#: The functions by module, and how many arguments a submission may give: further ones choose hidden data.
FUNCTIONS = {"svmlib.audit": {"counts": 1, "price_list": 1, "hosts": 0, "draws": 1}}


def compute(module: Any, name: Any, arguments: Any) -> Any:
    """Compute what a submission asks for, written for the wire. ValueError for all else."""
    most = FUNCTIONS.get(module, {}).get(name) if type(module) is type(name) is str else None
    if most is None or type(arguments) is not list or len(arguments) > most:
        raise ValueError("this is not given to a submission")
    values = [wire.decode(argument) for argument in arguments]
    if any(type(value) is int and value > 2000 for value in values):
        raise ValueError("this is more than is given to a submission")
    return wire.encode(getattr(importlib.import_module(module), name)(*values))


def fetch_through(ask: Callable[[str, str, list[Any]], Any]) -> None:
    """Let the functions, in the process that calls this, `ask` for the data instead of computing it."""
    for place, names in FUNCTIONS.items():
        module = importlib.import_module(place)
        for name in names:
            setattr(module, name, _fetched(getattr(module, name), place, name, ask))


def _fetched(
    function: Callable[..., Any], module: str, name: str, ask: Callable[[str, str, list[Any]], Any]
) -> Callable[..., Any]:
    @wraps(function)
    def fetch(*arguments: Any) -> Any:
        return ask(module, name, [wire.encode(argument) for argument in arguments])

    return fetch
