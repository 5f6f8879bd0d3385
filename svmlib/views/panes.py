"""The stepper's panes: a frame as HTML."""

from collections.abc import Collection, Sequence
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING

from .frames import Frame
from .marks import number, owner_mark
from .rows import Row
from .words import meaning, memory_written, operation, page_name, phase_name

if TYPE_CHECKING:
    from ..kvm import Violation


HEADS = ("register", "value", "whose", "in this step")


def pane(
    frame: Frame, rows: Sequence[Row], vmcbs: Collection[int] = (), violation: "Violation | None" = None
) -> str:
    """Return the pane of one step; `violation` is given for the last step of a run that broke a rule."""
    page = page_name(frame.step, vmcbs)
    fault = violation.register if violation else ""
    parts = [_headline(frame, page), alert(violation) if violation else "", _facts(frame), _bill(frame)]
    if written := memory_written(frame.step, page):
        parts.append(f"<p>Memory written: {escape(written)}</p>")
    return f'<div class="svm">{"".join(parts)}{state_table(frame, rows, fault)}</div>'


def option(frame: Frame, vmcbs: Collection[int] = ()) -> str:
    """Return the step's line in the list: number, event, operand, and the path's function."""
    step = frame.step
    operand = page_name(step, vmcbs) or (
        f"{step.operand:#x}" if isinstance(step.operand, int) else step.operand
    )
    if step.event == "shutdown":
        operand = ""
    where = "guest" if step.side == "guest" else step.phase or "kernel"
    return f"{frame.k:>3} {step.event}{f' {operand}' if operand else ''} · {where}"


def _headline(frame: Frame, page: str) -> str:
    means = meaning(frame.step)
    text = f"<p><strong>Step {frame.k}: <code>{escape(operation(frame.step, page))}</code></strong>"
    return f"{text}<br>{escape(means)}</p>" if means else f"{text}</p>"


def _facts(frame: Frame) -> str:
    step = frame.step
    facts = (
        ("CPU", str(step.cpu)),
        ("executes", owner_mark(step.side)),
        ("GIF", "1" if step.gif else "0 (events wait)"),
        ("IF", str(frame.interrupts)),
        ("in", f"<code>{escape(phase_name(step))}</code>" if step.phase else phase_name(step)),
    )
    return '<p class="f">' + "".join(f"<span>{name} <b>{value}</b></span>" for name, value in facts) + "</p>"


def _bill(frame: Frame) -> str:
    steps = f"{frame.path_steps} {'step' if frame.path_steps == 1 else 'steps'} of the path"
    if frame.ticks is None:
        return f"<p>So far: {steps}</p>"
    low, nominal, high = frame.ticks
    return f"<p>Bill so far: <b>{nominal:,.0f} ticks</b> ({low:,.0f}–{high:,.0f}) for {steps}</p>"


def state_table(frame: Frame, rows: Sequence[Row], at_fault: str = "") -> str:
    """Return the registers of `rows` after the step: value, owner, and what the step changed."""
    changed = {name: old for name, old, _ in frame.step.changes}
    count = sum(any(name in changed for name in row.names) for row in rows)
    bodies = []
    for _, members in groupby(rows, key=lambda row: row.group):
        lines = "".join(_line(frame, row, changed, at_fault) for row in members)
        bodies.append(f"<tbody>{lines}</tbody>")
    heads = "".join(f'<th scope="col">{text}</th>' for text in HEADS)
    caption = f"CPU {frame.step.cpu} after step {frame.k}: {count or 'none'} of these {len(rows)} changed"
    head = f"<caption>{caption}</caption><thead><tr>{heads}</tr></thead>"
    return f'<table class="state">{head}{"".join(bodies)}</table>'


def _line(frame: Frame, row: Row, changed: dict[str, int], at_fault: str) -> str:
    note = row.note.replace("base ", "base<br>")
    label = f"{row.label} <small>{note}</small>" if note else row.label
    value = _values([frame.values[name] for name in row.names])
    whose = " ".join(owner_mark(owner) for owner in frame.owners_of(row.names))
    is_changed = any(name in changed for name in row.names)
    old = _values([changed.get(name, frame.values[name]) for name in row.names])
    notes = [f"<b>✱ changed</b> from <code>{old}</code>"] if is_changed else []
    notes += ["<b>✖ at fault</b>"] if at_fault in row.names else []
    mark = ' class="c"' if is_changed else ""
    said = "<br>".join(notes)
    return f'<tr{mark}><th scope="row">{label}</th><td>{value}</td><td>{whose}</td><td>{said}</td></tr>'


def _values(values: Sequence[int]) -> str:
    """Write a row's values: a base and what goes with it are two lines, or the table would be too wide."""
    base, *others = map(number, values)
    return " ".join([base, *others]) if len(values) < 4 else f"{base}<br>{' '.join(others)}"


def alert(violation: "Violation") -> str:
    """Return the box that tells what went wrong: the symptom first, then rule, register, value and owner."""
    symptom = violation.symptom[:1].upper() + violation.symptom[1:]
    return (
        '<div class="alert" role="alert"><p><strong>✖ The run ends here.</strong> '
        f"{escape(symptom)}</p><p>{escape(violation.detail)}</p></div>"
    )
