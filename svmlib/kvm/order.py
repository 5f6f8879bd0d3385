"""The kernel's order around VMRUN, eighteen steps: what GIF, IF, GS.base and the user's state are at each.

The shape of KVM from late 2022 to 2025 (data/call_order.csv); `walk` finds the steps in a run and says what
is true there, whatever the path.
"""

from typing import NamedTuple

from ..data import rows
from ..processor import RFLAGS_IF
from ..registers import carried_by
from ..trace import Step, Trace
from .run import Run

#: Registers of VMSAVE's set that the host's user space needs and its kernel does not: all but GS.base and TR.
USER_STATE = tuple(name for name in carried_by("VMSAVE") if name != "GS.base" and not name.startswith("TR."))


class Place(NamedTuple):
    """One of the eighteen steps, found in a run: what the kernel does, where, and what holds after it."""

    number: int
    kernel: str
    #: The step of the trace, or None where this path does not do that.
    step: int | None
    gif: int
    interrupts: int
    #: Whose GS.base is: "host", "guest", or "user" for the thread's; and whose the user's state.
    gs: str
    user: str


def walk(run: Run, index: int = -1) -> list[Place]:
    """Find the eighteen steps in an exit of `run`, the last unless `index` says another."""
    record = run.exits[index]
    at, places = record.first, []
    for row in rows("call_order"):
        found = next((k for k in range(at, record.last) if _is(run.trace[k], row)), None)
        if found is None:
            places.append(Place(int(row["step"]), row["kernel"], None, 0, 0, "", ""))
            continue
        at = found + 1
        places.append(Place(int(row["step"]), row["kernel"], found, *_holds(run.trace, found, record.cpu)))
    return places


def _is(step: Step, row: dict[str, str]) -> bool:
    operand = row["operand"]
    return (
        step.event == row["event"] and step.phase == row["phase"] and (not operand or step.operand == operand)
    )


def _holds(trace: Trace, k: int, cpu: int) -> tuple[int, int, str, str]:
    """Return GIF, IF, whose GS.base is and whose the user's state, after step `k`."""
    state = trace.state(k, cpu)
    gs = trace.owner(k, "GS.base", state["GS.base"], cpu)
    swapped = trace.owner(k, "KernelGSBase", state["GS.base"], cpu) == "host"
    telling = [
        trace.owner(k, name, state[name], cpu) for name in USER_STATE if name != "KernelGSBase" or not swapped
    ]
    user = (
        "host" if all(owner == "host" for owner in telling) else "guest" if "guest" in telling else "neither"
    )
    return trace[k].gif, int(bool(state["RFLAGS"] & RFLAGS_IF)), "user" if swapped else gs, user
