"""The stepper: a list of steps linked to ready-made panes, so that it works with a kernel and without one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import ipywidgets as widgets

from ..trace import Trace
from .frames import Frame, frames
from .marks import STYLE, legend
from .panes import option, pane
from .rows import registers_of, rows_of
from .words import vmcbs_of

if TYPE_CHECKING:
    from ..kvm import Run, Violation

#: The most steps a stepper shows: more would make the page slow.
LIMIT = 160


class _Span(Protocol):
    """An exit as a run records it."""

    @property
    def first(self) -> int: ...
    @property
    def last(self) -> int: ...


def stepper(
    run: "Run | Trace",
    *,
    steps: "range | _Span | None" = None,
    only: str | None = None,
    registers: Sequence[str] | None = None,
    prices: Any = None,
) -> widgets.VBox:
    """Show a run, or a trace, as a list to walk with the arrow keys: each step, its state, and the bill.

    `steps` is a range of step numbers or an exit of `run.exits`; `only` is "path" for the steps of the path's
    own functions or "host" for all but the guest's; `registers` names what to show ("TR", "LSTAR", "FS.base",
    "FS.hidden"); `prices` is a price list or its name.  ValueError when more than LIMIT steps are left.

    JupyterLab's own shortcuts take the arrow keys away from a list; the course's settings (course/jupyter)
    give them back.
    """
    names, contents = stepper_panes(run, steps=steps, only=only, registers=registers, prices=prices)
    panes = widgets.Stack([widgets.HTML(content) for content in contents], selected_index=0)
    listed = min(len(names), 26)
    select = widgets.Select(options=names, rows=listed, description="Steps", index=0)
    select.layout = widgets.Layout(width="256px", height="auto", flex="0 0 auto")
    panes.layout = widgets.Layout(flex="1 1 540px", min_width="0", padding="0 0 0 12px")
    select.add_class("svm-steps")
    panes.add_class("svm-pane")
    widgets.jslink((select, "index"), (panes, "selected_index"))
    body = widgets.HBox([select, panes], layout=widgets.Layout(flex_flow="row wrap"))
    return widgets.VBox([widgets.HTML(STYLE), body, widgets.HTML(f'<div class="svm">{legend()}</div>')])


def stepper_panes(
    run: "Run | Trace",
    *,
    steps: "range | _Span | None" = None,
    only: str | None = None,
    registers: Sequence[str] | None = None,
    prices: Any = None,
) -> tuple[list[str], list[str]]:
    """Return the lines of a stepper's list and its panes as HTML; the arguments are those of `stepper`."""
    trace, violation = _trace_of(run)
    rows = rows_of(registers)
    walk = frames(trace, registers_of(rows), _prices(prices))
    shown = [frame for frame in walk if _wanted(frame, steps, only)]
    _check(len(shown), len(trace))
    vmcbs = vmcbs_of(trace)
    last = len(trace) - 1
    contents = [pane(frame, rows, vmcbs, violation if frame.k == last else None) for frame in shown]
    return [option(frame, vmcbs) for frame in shown], contents


def _trace_of(run: "Run | Trace") -> tuple[Trace, "Violation | None"]:
    return (run, None) if isinstance(run, Trace) else (run.trace, run.violation)


def _prices(prices: Any) -> Any:
    if not isinstance(prices, str):
        return prices
    from .. import costs

    return costs.prices(prices)


def _wanted(frame: Frame, steps: "range | _Span | None", only: str | None) -> bool:
    if only not in (None, "path", "host"):
        raise ValueError(f'only={only!r} is nothing to show; say only="path" or only="host", or leave it out')
    if steps is not None:
        span = steps if isinstance(steps, range) else range(steps.first, steps.last)
        if frame.k not in span:
            return False
    return only is None or bool(frame.step.phase if only == "path" else frame.step.side == "host")


def _check(shown: int, total: int) -> None:
    if not shown:
        raise ValueError(f"no step to show: the trace has {total}, and none is in the chosen window")
    if shown > LIMIT:
        raise ValueError(
            f"{shown} steps are too many to show at once (at most {LIMIT}); "
            f'choose some with steps=run.exits[0], steps=range(0, {LIMIT}), or only="path"'
        )
