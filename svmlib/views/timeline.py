"""One exit as a picture: GIF, IF and who owns GS base, TR and the user's state, step by step."""

from collections.abc import Callable, Collection, Sequence
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from .frames import Frame, frames
from .marks import OWNERS, Html, own_patterns
from .rows import DEFAULT, registers_of
from .words import operation, page_name, vmcbs_of

if TYPE_CHECKING:
    from ..kvm import Run
    from ..trace import Step

_COLUMN, _LANE, _LEFT, _TOP = 22, 26, 130, 138
_KEY = "Bold: the path's own steps. A lane says whose value the CPU holds after the step."
_BITS = {"0": ("#FFFFFF", "#000000"), "1": ("#999999", "#000000")}
_QUIET = ("MOV r,m", "MOV m,r")
_USER = tuple(
    name
    for name in registers_of(DEFAULT)
    if name not in ("GS.base", "TSC_AUX") and not name.startswith("TR.")
)


class Lane(NamedTuple):
    """A line of the picture: its label, and what to write for a frame."""

    label: str
    of: Callable[[Frame], str]


def _owner(*names: str) -> Callable[[Frame], str]:
    def of(frame: Frame) -> str:
        owners = frame.owners_of(names)
        return owners[0] if len(owners) == 1 else "mixed"

    return of


#: What has to be right at STGI (GS base, TR) and in user space (the rest), and whether an event can hit.
LANES = (
    Lane("GIF", lambda frame: str(frame.step.gif)),
    Lane("IF", lambda frame: str(frame.interrupts)),
    Lane("GS base (kernel)", _owner("GS.base")),
    Lane("TR (event stacks)", _owner("TR.base")),
    Lane("user state", _owner(*_USER)),
    Lane("TSC_AUX", _owner("TSC_AUX")),
)


def timeline(run: "Run", exit: int = 0, *, memory: bool = False) -> Html:  # noqa: A002
    """Draw exit number `exit` of a run as SVG: a column a step, a lane for each thing that has to be right.

    The picture ends before the way out to user space.  Loads and stores are left out unless `memory` says to
    draw them.  IndexError when the run has no such exit.
    """
    if not -len(run.exits) <= exit < len(run.exits):
        raise IndexError(f"no exit {exit}; the run has {len(run.exits)}, counted from 0")
    record = run.exits[exit]
    out = range(record.first, record.last)
    sysret = next((k for k in out if run.trace[k].event == "SYSRET"), record.last + 1)
    shown = [
        frame
        for frame in frames(run.trace, registers_of(DEFAULT))
        if frame.k in out and frame.k < sysret - 1 and (memory or frame.step.event not in _QUIET)
    ]
    broken = run.violation is not None and record.last == len(run.trace)
    symptom = str(run.violation) if broken else ""
    title = f"An exit ({record.kind}{' with NMI' if record.nmi else ''}) on CPU {record.cpu}, step by step"
    return _draw(shown, title, symptom, vmcbs_of(run.trace))


def _draw(shown: Sequence[Frame], title: str, symptom: str, vmcbs: Collection[int]) -> Html:
    width = max(_LEFT + _COLUMN * len(shown) + 70, 640)
    bottom = _TOP + _LANE * len(LANES)
    height = bottom + 64 + 20 * bool(symptom)
    lanes = "".join(_lane(shown, lane, _TOP + _LANE * at) for at, lane in enumerate(LANES))
    end = _end(symptom, _LEFT + _COLUMN * len(shown), bottom) if symptom else ""
    return own_patterns(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        'style="max-width:100%;height:auto" role="img" font-family="system-ui,sans-serif" font-size="12">'
        f"<title>{escape(title)}</title><desc>{escape(_describe(shown, symptom))}</desc>{_PATTERNS}"
        f'<rect width="{width}" height="{height}" fill="#FFFFFF"/>'
        f"{_events(shown, vmcbs)}{lanes}{_phases(shown, bottom)}{end}"
        f'<text x="8" y="{height - 8}" font-size="11">{escape(_KEY)}</text></svg>'
    )


def _describe(shown: Sequence[Frame], symptom: str) -> str:
    """Say in words what the picture shows: each lane's values and the steps from which they hold."""
    lines = []
    for lane in LANES:
        runs = [(text, next(members)) for text, members in groupby(shown, key=lane.of)]
        lines.append(f"{lane.label}: " + ", ".join(f"{t} from {f.step.event} (step {f.k})" for t, f in runs))
    return ". ".join([*lines, *([f"The run ends here: {symptom}"] if symptom else [])]) + "."


#: Stripes for the guest's, dots for mixed: what is not the host's differs in black and white too.
_PATTERNS = (
    '<defs><pattern id="svm-guest" width="7" height="7" patternUnits="userSpaceOnUse" '
    f'patternTransform="rotate(45)"><rect width="7" height="7" fill="{OWNERS["guest"][1]}"/>'
    '<rect width="1.5" height="7" fill="#000000" fill-opacity=".3"/></pattern>'
    '<pattern id="svm-mixed" width="7" height="7" patternUnits="userSpaceOnUse">'
    f'<rect width="7" height="7" fill="{OWNERS["neither"][1]}"/><circle cx="3" cy="3" r="1"/></pattern>'
    "</defs>"
)


def _look(text: str) -> tuple[str, str, str, str]:
    """Return the fill, the text's colour and halo, and the text with its glyph."""
    if text in _BITS:
        return *_BITS[text], "none", text
    if text in ("guest", "mixed"):
        halo = OWNERS["guest" if text == "guest" else "neither"][1]
        return (
            f"url(#svm-{text})",
            "#000000",
            halo,
            f"{OWNERS['guest'][0] if text == 'guest' else '◪'} {text}",
        )
    glyph, back, front, _ = OWNERS[text]
    return back, front, "none", f"{glyph} {text}"


def _lane(shown: Sequence[Frame], lane: Lane, y: int) -> str:
    parts = [f'<text x="{_LEFT - 8}" y="{y + 16}" text-anchor="end">{escape(lane.label)}</text>']
    at = 0
    for text, members in groupby(shown, key=lane.of):
        count = len(list(members))
        parts.append(_bar(_LEFT + _COLUMN * at, y, _COLUMN * count, text))
        at += count
    return "".join(parts)


def _bar(x: int, y: int, width: int, text: str) -> str:
    fill, colour, halo, label = _look(text)
    label = label if width >= 8 * len(label) else label[0]
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{_LANE - 4}" fill="{fill}" stroke="#000000" '
        f'stroke-width=".7"/><text x="{x + width / 2:g}" y="{y + 16}" text-anchor="middle" fill="{colour}" '
        f'stroke="{halo}" stroke-width="4" paint-order="stroke">{label}<title>{text}</title></text>'
    )


def _events(shown: Sequence[Frame], vmcbs: Collection[int]) -> str:
    parts = []
    for at, frame in enumerate(shown):
        step = frame.step
        page = page_name(step, vmcbs).replace("host save page", "host page")
        label = f"{step.event} {page or _short(step)}".strip()[:21]
        weight = ' font-weight="bold"' if step.phase else ""
        full = f"step {frame.k}: {operation(step, page)}"
        parts.append(
            f'<text transform="translate({_LEFT + _COLUMN * (at + 0.5) + 4:g} {_TOP - 6}) rotate(-60)" '
            f'font-size="11"{weight}>{escape(label)}<title>{escape(full)}</title></text>'
        )
    return "".join(parts)


def _short(step: "Step") -> str:
    return step.operand if isinstance(step.operand, str) and len(step.operand) < 20 else ""


def _phases(shown: Sequence[Frame], y: int) -> str:
    """Brackets below the lanes that name the path's functions, on two lines in turn."""
    parts, at, named = [], 0, 0
    for phase, members in groupby(shown, key=_phase):
        count = len(list(members))
        x, width = _LEFT + _COLUMN * at, _COLUMN * count
        at += count
        if phase:
            down = y + 17 + 13 * (named % 2)
            parts.append(
                f'<path d="M{x + 1} {y}v4h{width - 2}v-4" fill="none" stroke="#000000" stroke-width="1.5"/>'
                f'<text x="{x + width / 2:g}" y="{down}" text-anchor="middle" font-size="11">'
                f"{escape(phase)}</text>"
            )
            named += 1
    return "".join(parts)


def _phase(frame: Frame) -> str:
    return "vcpu_enter_exit" if frame.step.side == "guest" else frame.step.phase


def _end(symptom: str, x: int, bottom: int) -> str:
    text = symptom if len(symptom) < 85 else f"{symptom[:84]}…"
    return (
        f'<path d="M{x} {_TOP - 4}V{bottom}" stroke="#D55E00" stroke-width="4"/>'
        f'<text x="{x + 4}" y="{_TOP + 10}" fill="#A04000" font-weight="bold" font-size="16">✖</text>'
        f'<text x="8" y="{bottom + 56}" fill="#A04000" font-weight="bold">✖ {escape(text)}</text>'
    )
