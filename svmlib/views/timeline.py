"""One exit as a picture: GIF, IF and who owns GS base, TR and the user's state, step by step."""

from collections.abc import Callable, Sequence
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from ..trace import Trace
from .frames import Frame, frames
from .marks import OWNERS, Html
from .rows import DEFAULT, registers_of
from .words import operation

if TYPE_CHECKING:
    from ..kvm import Run

COLUMN, LANE, LEFT, TOP = 20, 26, 168, 150
_KERNEL = ("GS.base",)
_STACK = ("TR.base",)
_USER = tuple(name for name in registers_of(DEFAULT) if not name.startswith("TR.") and name != "GS.base")
_BITS = {"0": ("#FFFFFF", "#000000"), "1": ("#999999", "#000000")}
_LOADS = ("MOV r,m", "MOV m,r")


class Lane(NamedTuple):
    """A line of the picture: its label, and what to write for a frame."""

    label: str
    of: Callable[[Frame], str]


def _owner(names: Sequence[str]) -> Callable[[Frame], str]:
    def of(frame: Frame) -> str:
        owners = {frame.owners[name] for name in names}
        return owners.pop() if len(owners) == 1 else "mixed"

    return of


LANES = (
    Lane("GIF", lambda frame: str(frame.step.gif)),
    Lane("IF", lambda frame: str(frame.interrupts)),
    Lane("GS base (kernel)", _owner(_KERNEL)),
    Lane("TR (event stacks)", _owner(_STACK)),
    Lane("user state", _owner(_USER[:-1])),
    Lane("TSC_AUX", _owner(("TSC_AUX",))),
)


def timeline(run: "Run", exit: int = 0, *, memory: bool = False) -> Html:  # noqa: A002
    """Draw exit number `exit` of a run as an SVG: a column a step, a lane for each thing that must be right.

    Loads and stores are left out unless `memory` says to draw them.  IndexError when the run has no such exit.
    """
    if not -len(run.exits) <= exit < len(run.exits):
        raise IndexError(f"no exit {exit}; the run has {len(run.exits)}, counted from 0")
    record = run.exits[exit]
    names = (*_KERNEL, *_STACK, *_USER)
    walk = frames(run.trace, names)
    shown = [
        frame for frame in walk
        if record.first <= frame.k < record.last and (memory or frame.step.event not in _LOADS)
    ]  # fmt: skip
    return draw(shown, f"An exit ({record.kind}) step by step on CPU {record.cpu}")


def draw(shown: Sequence[Frame], title: str) -> Html:
    """Return the SVG of `shown`, one column a frame."""
    width = LEFT + COLUMN * len(shown) + 12
    height = TOP + LANE * len(LANES) + 48
    lanes = "".join(_lane(shown, lane, TOP + LANE * at) for at, lane in enumerate(LANES))
    return Html(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'style="max-width:100%;height:auto" role="img" font-family="system-ui,sans-serif" font-size="12">'
        f"<title>{escape(title)}</title><desc>{escape(describe(shown))}</desc>{_patterns()}"
        f'<rect width="{width}" height="{height}" fill="#FFFFFF"/>'
        f"{_events(shown)}{_phases(shown)}{lanes}{_key(height - 14)}</svg>"
    )


def describe(shown: Sequence[Frame]) -> str:
    """Say in words what the picture shows: each lane's values and the steps from which they hold."""
    lines = []
    for lane in LANES:
        runs = [(text, next(members)) for text, members in groupby(shown, key=lane.of)]
        lines.append(f"{lane.label}: " + ", ".join(f"{t} from {f.step.event} (step {f.k})" for t, f in runs))
    return ". ".join(lines) + "."


def _patterns() -> str:
    """Stripes for the guest's, dots for mixed: what is not the host's differs in black and white too."""
    return (
        '<defs><pattern id="svm-guest" width="6" height="6" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate(45)"><rect width="6" height="6" fill="{OWNERS["guest"][1]}"/>'
        '<rect width="1.5" height="6" fill="#00000055"/></pattern>'
        '<pattern id="svm-mixed" width="6" height="6" patternUnits="userSpaceOnUse">'
        f'<rect width="6" height="6" fill="{OWNERS["neither"][1]}"/><circle cx="3" cy="3" r="1.2"/></pattern></defs>'
    )


def _look(text: str) -> tuple[str, str, str]:
    """Return fill, colour of the text, and the text with its glyph."""
    if text in _BITS:
        return *_BITS[text], text
    if text in ("guest", "mixed"):
        return f"url(#svm-{text})", "#000000", f"{OWNERS['guest'][0] if text == 'guest' else '◪'} {text}"
    glyph, back, front, _ = OWNERS[text]
    return back, front, f"{glyph} {text}"


def _lane(shown: Sequence[Frame], lane: Lane, y: int) -> str:
    parts = [f'<text x="{LEFT - 8}" y="{y + 16}" text-anchor="end">{escape(lane.label)}</text>']
    at = 0
    for text, members in groupby(shown, key=lane.of):
        count = len(list(members))
        parts.append(_bar(LEFT + COLUMN * at, y, COLUMN * count, text))
        at += count
    return "".join(parts)


def _bar(x: int, y: int, width: int, text: str) -> str:
    fill, colour, label = _look(text)
    label = label if width >= 9 * len(label) else label[0]
    halo = f' stroke="{OWNERS["guest"][1]}" stroke-width="4" paint-order="stroke"' if fill.startswith("url(#svm-g") else ""
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{LANE - 4}" fill="{fill}" stroke="#000000" stroke-width=".7"/>'
        f'<text x="{x + width / 2:g}" y="{y + 16}" text-anchor="middle" fill="{colour}"{halo}>{label}</text>'
    )


def _events(shown: Sequence[Frame]) -> str:
    parts = []
    for at, frame in enumerate(shown):
        x = LEFT + COLUMN * at + COLUMN / 2
        text = operation(frame.step).split(" ←")[0].split(" →")[0].split(" EXIT")[0][:22]
        weight = ' font-weight="bold"' if frame.step.phase else ""
        parts.append(
            f'<text transform="translate({x + 4:g} {TOP - 26}) rotate(-60)" font-size="11"{weight}>'
            f"{escape(text)}<title>{escape(f'step {frame.k}: {operation(frame.step)}')}</title></text>"
        )
    return "".join(parts)


def _phases(shown: Sequence[Frame]) -> str:
    parts, at = [], 0
    for phase, members in groupby(shown, key=lambda frame: frame.step.phase):
        count = len(list(members))
        x, width = LEFT + COLUMN * at, COLUMN * count
        at += count
        if not phase:
            continue
        name = phase if width > 6.4 * len(phase) else phase[: max(1, int(width / 7))] + "…"
        parts.append(
            f'<path d="M{x + 2} {TOP - 6}h{width - 4}" stroke="#000000" stroke-width="2"/>'
            f'<text x="{x + width / 2:g}" y="{TOP - 10}" text-anchor="middle" font-size="11">{name}<title>{phase}</title></text>'
        )
    return "".join(parts)


def _key(y: int) -> str:
    text = "Bold: the path's own steps; a line above the lanes names its function. Lanes say whose value it is after the step."
    return f'<text x="12" y="{y}" font-size="11">{escape(text)}</text>'
