"""Every assumption movable: price list, intervals, terms and share as controls over who is cheaper."""

from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets as widgets

from ..costs import PriceList, Terms, cache, chance, exit_costs, lists
from ..costs.exits import less
from ..costs.mixes import Mix
from ..costs.prices import Ticks
from ..trace import Step
from .bars import compare_bars
from .marks import Html

#: Path -> "kernel" and "user" -> the steps of such an exit.
Paths = Mapping[str, Mapping[str, Sequence[Step]]]
#: The events whose interval can be moved, and the most ticks that it goes to.
SLIDERS = {"VMLOAD": 440, "VMSAVE": 440, "WRMSR": 300, "WRGSBASE": 150, "LTR": 400}
_TERMS = {
    "ltr": ("LTR on each exit", True),
    "drain": ("a write to an MSR waits", True),
    "cold": ("pages may be cold", False),
    "prefetch": ("with an early prefetch", False),
}
_DRAWS = 4000


def terms(ltr: bool = True, drain: bool = True, cold: bool = False, prefetch: bool = False) -> Terms:
    """Return the terms of the host's state alone."""
    near = cache.usual()._replace(prefetch=prefetch) if cold else None
    return Terms(switch=False, ltr=ltr, drain=drain, cache=near)


def moved(costs: PriceList, intervals: Mapping[str, tuple[float, float]]) -> PriceList:
    """Return the list with other intervals, each nominal in the middle; one that is the list's stays."""
    changed = {
        event: (low, (low + high) / 2, high)
        for event, (low, high) in intervals.items()
        if (low, high) != _whole(costs, event)
    }
    return costs.but(**changed)


def _whole(costs: PriceList, event: str) -> tuple[int, int]:
    return round(costs[event].low), round(costs[event].high)


def compared(paths: Paths, pair: tuple[str, str], costs: PriceList, what: Terms, share: float) -> Html:
    """Return who of `pair` is cheaper on these assumptions: a sentence, bars by event, and a table."""
    a, b = (exit_costs(name, {k: list(s) for k, s in paths[name].items()}, costs, what) for name in pair)
    draws = chance.draws_for([a, b], _DRAWS)
    mix = Mix("yours", "yours", Ticks(share, share, share))
    found = chance.difference(a, b, mix, draws)
    said = (
        f"With {share:.2%} of the exits reaching vcpu_put, {a.path} less {b.path} is {found.ticks} ticks "
        f"an exit (median, 5 to 95 %): {a.path} is cheaper with a probability of {found.cheaper:.0%}."
    )
    if what.cache is None:
        border = chance.border(a, b, draws)
        where = {"always": "at every share", "never": "at no share"}.get(border.wins, f"{border}")
        said += f" By nominal prices {a.path} is cheaper {where}."
    bars = {path.path: _by_event(path.at(share), less(a.at(share), b.at(share)), costs) for path in (a, b)}
    title = "Where they differ: ticks an exit by event, nominal and from low to high"
    return Html(f'<p class="svm" role="status">{said}</p>{compare_bars(bars, title)}')


def _by_event(counts: Mapping[str, float], gap: Mapping[str, float], costs: PriceList) -> dict[str, Ticks]:
    """Return what the events in which two paths differ cost one of them; what both pay alike is left out."""
    stems = dict.fromkeys(event.partition(" ")[0] if event.startswith("MOV") else event for event in gap)
    found = {}
    for stem in stems:
        events = {
            e: n for e, n in counts.items() if e in gap and (e == stem or (stem == "MOV" and e[:3] == stem))
        }
        found[stem] = costs.total(events)
    return found


def assumptions(
    paths: Paths, pair: tuple[str, str] = ("lazy", "vmload_before_stgi"), share: float = 0.06
) -> Any:
    """Show the controls over the comparison of two paths.  Needs a kernel: each change draws it anew."""
    picks, ranges, switches = _picks(paths, pair, share), _ranges(), _switches()
    picture = widgets.HTML()

    def draw(change: Mapping[str, Any] | None = None) -> None:
        costs = lists.prices(picks["list"].value)
        if change and change["owner"] is picks["list"]:
            for event, slider in ranges.items():  # a new list brings its own intervals
                slider.max = max(SLIDERS[event], _whole(costs, event)[1])
                slider.value = _whole(costs, event)
        chosen = moved(costs, {event: slider.value for event, slider in ranges.items()})
        what = terms(**{name: box.value for name, box in switches.items()})
        both = (picks["a"].value, picks["b"].value)
        picture.value = compared(paths, both, chosen, what, picks["share"].value)

    for control in (*picks.values(), *ranges.values(), *switches.values()):
        control.observe(draw, "value")
    draw()
    rows = [
        widgets.Box(list(part.values()), layout=widgets.Layout(flex_flow="row wrap"))
        for part in (picks, ranges, switches)
    ]
    return widgets.VBox([*rows, picture])


def _own() -> dict[str, Any]:
    return {"layout": widgets.Layout(width="400px"), "style": {"description_width": "150px"}}


def _picks(paths: Paths, pair: tuple[str, str], share: float) -> dict[str, Any]:
    def choice(options: Any, value: str, words: str) -> Any:
        return widgets.Dropdown(options=options, value=value, description=words, **_own())

    f = widgets.FloatLogSlider(
        share, min=-4, max=0, step=0.05, description="share f", readout_format=".4f", **_own()
    )
    return {
        "list": choice(lists.names(), lists.ROOT, "price list"),
        "a": choice(list(paths), pair[0], "path A"),
        "b": choice(list(paths), pair[1], "path B"),
        "share": f,
    }


def _ranges() -> dict[str, Any]:
    usual = lists.prices(lists.ROOT)
    return {
        event: widgets.IntRangeSlider(
            value=_whole(usual, event), min=0, max=most, description=f"{event} (ticks)",
            continuous_update=False, **_own(),
        )
        for event, most in SLIDERS.items()
    }  # fmt: skip


def _switches() -> dict[str, Any]:
    layout = widgets.Layout(width="220px")
    return {
        name: widgets.Checkbox(value=is_on, description=words, indent=False, layout=layout)
        for name, (words, is_on) in _TERMS.items()
    }
