"""The kernel's own functions that a path may call: on a machine they run on the judge's side, whole.

They are found, not listed: what svmlib.kvm offers whose first argument is a CPU or a vCPU.
"""

import inspect
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from svmlib.kvm import percpu, svm_ops, vcpu, vmenter

FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: function
    for module in (percpu, svm_ops, vcpu, vmenter)
    for name, function in inspect.getmembers(module, inspect.isfunction)
    if not name.startswith("_")
    and function.__module__ == module.__name__
    and next(iter(inspect.signature(function).parameters), "") in ("cpu", "vcpu")
}


def hand_over(kinds: tuple[type, ...], post: Callable[..., Any]) -> None:
    """Let each function, when it is given an object of `kinds`, be `post`ed under its name instead of run
    here.
    """

    def handed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(on: Any, *operands: Any, **named: Any) -> Any:
            if type(on) in kinds:
                return post(on, name, *operands, **named)
            return function(on, *operands, **named)

        return call

    made = {name: handed(name, function) for name, function in FUNCTIONS.items()}
    for module in [module for name, module in sys.modules.items() if name.partition(".")[0] == "svmlib"]:
        for name, function in made.items():
            if getattr(module, name, None) is FUNCTIONS[name]:
                setattr(module, name, function)
