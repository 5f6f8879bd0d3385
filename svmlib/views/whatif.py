"""What if VMLOAD were dearer: sliders over prices, and the paths' bills drawn anew, with no run repeated."""

from collections.abc import Mapping
from typing import Any

import ipywidgets as widgets

from .bars import compare_bars
from .marks import Html

#: The events with a slider, and the most ticks that it goes to.
SLIDERS = {"VMLOAD": 440, "VMSAVE": 440, "WRMSR": 300, "WRGSBASE": 150, "LTR": 400}
_REST = "all else"

#: Path -> "kernel" and "user" -> event -> how often in one such exit.
Counts = Mapping[str, Mapping[str, Mapping[str, float]]]


def mixed(counts: Counts, prices: Mapping[str, float], share: float) -> dict[str, dict[str, float]]:
    """Return ticks an exit by path and event, where `share` of the exits go on to user space.

    Events without a slider are together under "all else".  `prices` gives ticks for every event in `counts`.
    """
    bills = {}
    for path, kinds in counts.items():
        parts = dict.fromkeys((*SLIDERS, _REST), 0.0)
        for kind, weight in (("kernel", 1 - share), ("user", share)):
            for event, times in kinds[kind].items():
                stem = event.split(" ")[0] if event.split(" ")[0] in SLIDERS else _REST
                parts[stem] += weight * times * prices[event]
        bills[path] = parts
    return bills


def in_words(bills: Mapping[str, Mapping[str, float]], share: float) -> str:
    """Say which path is the cheapest, and by how much."""
    totals = sorted((sum(parts.values()), path) for path, parts in bills.items())
    (least, best), *others = totals
    text = (
        f"With {share:.0%} of the exits going to user space, {best} costs least: {least:,.0f} ticks an exit"
    )
    return f"{text}; " + ", ".join(f"{path} {total - least:,.0f} more" for total, path in others) + "."


def what_if(
    counts: Mapping[str, Mapping[str, Any]], prices: Mapping[str, Any], share: float = 0.06
) -> widgets.VBox:
    """Show sliders for prices and the share of exits to user space, over bars that compare the paths.

    `counts` is path -> "kernel" and "user" -> event -> times, or the Bill of such an exit.
    `prices` is a price list.  Needs a kernel: each change draws the bars anew.
    """
    vectors = {
        path: {kind: getattr(value, "events", value) for kind, value in kinds.items()}
        for path, kinds in counts.items()
    }
    nominal = {event: price.nominal for event, price in prices.items()}
    style, layout = {"description_width": "150px"}, widgets.Layout(width="430px")
    sliders: dict[str, Any] = {
        event: widgets.IntSlider(
            round(nominal[event]), 0, most, description=f"{event} (ticks)", style=style, layout=layout
        )
        for event, most in SLIDERS.items()
    }
    sliders["share"] = widgets.FloatSlider(
        share, min=0, max=1, step=0.01, description="exits to user space", readout_format=".0%",
        style=style, layout=layout,
    )  # fmt: skip

    picture = widgets.HTML()

    def draw(_: object = None) -> None:
        chosen = {event: slider.value for event, slider in sliders.items()}
        picture.value = whatif_html(vectors, nominal | chosen, chosen["share"])

    for slider in sliders.values():
        slider.observe(draw, "value")
    draw()
    box = widgets.Box(list(sliders.values()), layout=widgets.Layout(flex_flow="row wrap"))
    return widgets.VBox([box, picture])


def whatif_html(counts: Counts, prices: Mapping[str, float], share: float) -> Html:
    """Return one setting of the sliders as a sentence, bars and a table."""
    bills = mixed(counts, prices, share)
    said = in_words(bills, share)
    return Html(
        f'<p class="svm" role="status">{said}</p>{compare_bars(bills, "Ticks an exit at these prices")}'
    )
