"""The decision as a picture: who is cheaper at which share of exits, and the model beside the samples.

Lines differ by stroke and hatching before they differ by colour, and every one carries its name.
"""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from io import StringIO
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import rc_context
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from ..costs import Mix, chance, targets
from ..costs.exits import less
from ..data import rows
from .marks import STYLE, Html

if TYPE_CHECKING:
    from ..trace import Step

#: Colour (Okabe-Ito), stroke and hatching of the first pairs.
_LOOKS = (("#0072B2", "-", ""), ("#D55E00", "--", "///"), ("#009E73", "-.", "..."), ("#CC79A7", ":", "xxx"))
_SHARES = np.geomspace(1e-4, 1, 61)
#: The samples' intervals around VMRUN, by build: target -> label.
_SAMPLES = {
    "before_v2": "before\nVMLOAD",
    "before_wrgsbase": "before\nWRGSBASE",
    "run_v2": "the run\nVMLOAD",
    "run_wrgsbase": "the run\nWRGSBASE",
    "after_v2": "after\nVMLOAD",
    "after_wrgsbase": "after\nWRGSBASE",
}
_STEP = 16
_SVG: Any = {"svg.fonttype": "none", "svg.hashsalt": "svmlib"}
#: Inches of a picture in a notebook: its labels can be read in half a small window, too.
_NOTEBOOK = (7, 4.6)
#: matplotlib's black and white -> the colours of the page around the picture, whose theme may be dark.
_PAGE = {"#000000": "currentColor", "#ffffff": "var(--jp-layout-color0,#fff)"}
#: Behind a name that stands on a line's band.
_PAPER = {"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1}


def draw(decision: Any, caption: str = "", pairs: int = 2) -> Figure:
    """Draw a decision (svmlib.decide): the first `pairs` of its pairs over the share f, and the samples."""
    with rc_context(_SVG | {"font.size": 9}):
        figure = Figure(figsize=(12, 5.6), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1.45, 1))
        _draw_shares(left, decision, pairs)
        samples(right, {name: path.kinds for name, path in decision.paths.items()})
        if caption:
            figure.supxlabel(fill(" ".join(caption.split()), 170), fontsize=8)
    return figure


def picture(decision: Any, caption: str = "", pairs: int = 2) -> Html:
    """Return the part over the share f as SVG for a notebook, with what it shows in words."""
    with rc_context(_SVG | {"font.size": 10}):
        figure = Figure(figsize=_NOTEBOOK, layout="constrained")
        _draw_shares(figure.subplots(), decision, pairs)
    return as_html(figure, in_words(decision, pairs), caption)


def as_html(figure: Figure, words: str, caption: str = "") -> Html:
    """Return a figure as SVG in a page, in the page's own colours, `words` for who does not see it."""
    text = StringIO()
    with rc_context(_SVG):
        figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    for ours, theirs in _PAGE.items():
        svg = svg.replace(ours, theirs)
    look = 'fill="currentColor" style="max-width:100%;height:auto" '
    svg = svg[svg.index("<svg") :].replace("<svg ", f"<svg {look}", 1)
    below = f"<figcaption>{escape(' '.join(caption.split()))}</figcaption>" if caption else ""
    shown = f'<div role="img" aria-label="{escape(words)}">{svg}</div>'
    return Html(f'{STYLE}<figure class="svm" style="margin:0">{shown}{below}</figure>')


def in_words(decision: Any, pairs: int = 2) -> str:
    """Say what the picture shows: each pair's border, and who is cheaper on which host."""
    said = []
    for at, ((a, b), border) in enumerate(list(decision.borders.items())[:pairs]):
        where = "" if border is None else f", {a} is cheaper {border} (median, 5 to 95 %)"
        signs = [f"{one.name}: {decision.differences[one.name][at].sign}" for one in decision.mixes]
        said.append(f"{a} less {b}{where}. By host: {', '.join(signs)}")
    return f"Difference in ticks an exit over the share of exits that reach vcpu_put. {'. '.join(said)}."


def _draw_shares(axes: Any, decision: Any, pairs: int) -> None:
    paths = decision.paths
    draws = chance.draws_for(paths.values(), decision.draws, decision.seed)
    for (a, b), (colour, stroke, hatch) in zip(list(decision.borders)[:pairs], _LOOKS, strict=False):
        values = [chance.spread(draws.cost(less(paths[a].at(f), paths[b].at(f)))) for f in _SHARES]
        low, median, high = (np.array(column) for column in zip(*values, strict=True))
        pale, dark = to_rgba(colour, 0.18), to_rgba(colour, 0.6)
        axes.fill_between(_SHARES, low, high, facecolor=pale, hatch=hatch, edgecolor=dark, lw=0)
        axes.plot(_SHARES, median, color=colour, ls=stroke, lw=2)
        name, at = f"{a} − {b}; 5 to 95 %", (_SHARES[2], median[2])
        axes.annotate(name, at, xytext=(0, 4), textcoords="offset points", bbox=_PAPER)
    axes.axhline(0, color="black", lw=1)
    axes.set_xscale("log")
    axes.set_xlabel("f: share of exits that reach vcpu_put")
    axes.set_ylabel("ticks an exit; below 0 the first path is cheaper")
    axes.set_title(f"Who is cheaper, and for whom (price list {decision.prices.name})", loc="left")
    _mark_hosts(axes, decision.mixes)


def _mark_hosts(axes: Any, mixes: Sequence[Mix]) -> None:
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom - 0.5 * (top - bottom), top + 0.04 * (top - bottom))
    axes.set_xlim(_SHARES[0], 2)
    last = 0.0
    for one in sorted(mixes, key=lambda one: one.f.nominal):
        low, share, high = (max(number, _SHARES[0]) for number in one.f)
        axes.axvline(share, color="0.6", lw=0.8, ls=(0, (1, 2)))
        words = f"{one.name} (assumed)" if one.label == "assumed" else one.name
        side = "left" if share < 1.3 * last else "right"  # away from a near neighbour's name
        axes.annotate(
            words, (share, 0.01), xycoords=("data", "axes fraction"),
            rotation=90, ha=side, va="bottom", fontsize=9,
        )  # fmt: skip
        if low < share or share < high:
            y = bottom - 0.03 * (top - bottom)
            axes.plot([low, high], [y, y], color="0.4", lw=1.5, marker="|")
        last = share


def samples(axes: Any, paths: "Mapping[str, Mapping[str, list[Step]]]") -> None:
    """Draw the published intervals beside the model's, each with its error bar."""
    for at, (_, value, (low, median, high)) in enumerate(_beside(paths)):
        axes.errorbar(
            [at - 0.12], [value], yerr=_STEP, fmt="o", color="black", capsize=4,
            label="published: mean of two samples, ± one step of the clock" if not at else None,
        )  # fmt: skip
        axes.errorbar(
            [at + 0.12], [median], yerr=[[median - low], [high - median]], fmt="D", mfc="white",
            color="#0072B2", capsize=4,
            label="model: median, 5 to 95 %, every price free" if not at else None,
        )  # fmt: skip
    axes.set_ylim(0, 2000)
    axes.set_xticks(range(len(_SAMPLES)), _SAMPLES.values(), fontsize=9)
    axes.set_ylabel("TSC ticks")
    axes.set_title("The samples of 16 December 2020 and the model", loc="left")
    axes.legend(loc="upper right", frameon=False)


def samples_picture(paths: "Mapping[str, Mapping[str, list[Step]]]") -> Html:
    """Return the samples beside the model as SVG for a notebook; `paths` is path -> kind of exit -> steps."""
    with rc_context(_SVG | {"font.size": 10}):
        figure = Figure(figsize=_NOTEBOOK, layout="constrained")
        samples(figure.subplots(), paths)
    said = [
        f"{label.replace(chr(10), ', ')}: published {value:.0f} ± {_STEP}, model {found}"
        for label, value, found in _beside(paths)
    ]
    return as_html(figure, "; ".join(said))


def _beside(paths: "Mapping[str, Mapping[str, list[Step]]]") -> Iterator[tuple[str, float, chance.Spread]]:
    values = {row["id"]: float(row["value"]) for row in rows("published")}
    where = {row["target"]: row["value_of"].partition("/")[2] for row in rows("targets")}
    for target, label in _SAMPLES.items():
        counts, costs = targets.quantity(target, paths)
        yield label, values[where[target]], chance.spread(chance.Draws(costs, counts).cost(counts))
