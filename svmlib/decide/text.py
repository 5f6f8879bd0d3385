"""A decision and the calibration as tables and as plain data; all that is known of one event."""

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

from ..costs import Mix
from ..costs.evidence import evidence
from ..costs.prices import Ticks, tidy
from ..costs.targets import EXPECTED, Calibration, as_rows
from . import CAVEAT, Decision

if TYPE_CHECKING:
    from ..costs.chance import Difference, Load


def as_json(decision: Decision) -> dict[str, Any]:
    """Return `decision` as plain data, in TSC ticks unless a name says otherwise."""
    return {
        "price_list": decision.prices.name,
        "unit": "TSC ticks an exit, 5 %, median and 95 %",
        "draws": decision.draws,
        "seed": decision.seed,
        "break_even": [
            {"a": a, "b": b} | ({} if found is None else found._asdict() | {"share": found.share._asdict()})
            for (a, b), found in decision.borders.items()
        ],
        "mixes": [
            {
                "name": one.name,
                "title": one.title,
                "label": one.label,
                "source": one.source,
                "share": one.f._asdict(),
                "exits_per_second": one.per_second and one.per_second._asdict(),
                "differences": [
                    found._asdict() | {"ticks": found.ticks._asdict(), "sign": found.sign}
                    for found in decision.differences[one.name]
                ],
                "loads": [_load_json(found) for found in decision.loads[one.name]],
            }
            for one in decision.mixes
        ],
    }


def _load_json(found: "Load") -> dict[str, Any]:
    numbers = {"per_exit": found.per_exit, "per_second": found.per_second, "percent_of_a_core": found.percent}
    return {"path": found.path} | {name: value and value._asdict() for name, value in numbers.items()}


def calibration_json(found: Calibration) -> dict[str, Any]:
    """Return the calibration as plain data."""
    outcomes = [one._asdict() | {"residual": one.residual} for one in found.outcomes]
    return {"good": found.good, "free_parameters": found.free, "targets": outcomes}


def as_text(decision: Decision, width: int | None = None) -> str:
    """Return `decision` as tables, each cut into several where it is wider than `width`.

    ModuleNotFoundError says so where tabulate is missing.
    """
    title = f"TSC ticks an exit, price list {decision.prices.name}: median (5 to 95 %)"
    title += f" of {decision.draws:,} draws, seed {decision.seed}"
    pairs = [f"{a} − {b}" for a, b in decision.borders]
    border = [("break-even f*", "", *("–" if one is None else str(one) for one in decision.borders.values()))]
    answers = [
        (one.name, _share(one.f), *(_answer(found) for found in decision.differences[one.name]))
        for one in decision.mixes
    ]
    loads = [row for one in decision.mixes for row in _load_rows(one, decision.loads[one.name])]
    notes = [f"{one.name}: {one.title} ({one.label})" for one in decision.mixes]
    return "\n".join(
        [
            title,
            "",
            "A − B: negative where A is cheaper; behind it the probability that it is",
            _cut([*border, *answers], ("host", "f", *pairs), width),
            "",
            "What the host's state costs: median ticks an exit; below it percent of a core",
            _cut(loads, ("host", "f", *decision.paths), width),
            "",
            "f is the share of exits that reach vcpu_put. The hosts:",
            *notes,
            "",
            CAVEAT,
        ]
    )


def _table(body: Sequence[Sequence[str]], head: Sequence[str]) -> str:
    try:
        from tabulate import tabulate
    except ModuleNotFoundError:
        why = "the table needs the package tabulate, which is missing; pip install tabulate, or use --json"
        raise ModuleNotFoundError(why) from None
    return str(tabulate(body, headers=head, disable_numparse=True))


def _cut(body: Sequence[Sequence[str]], head: Sequence[str], width: int | None) -> str:
    """Return tables of as many columns as fit `width`, one at least; the first two name the rows of each."""
    wide = [max(len(head[n]) + 2, *(len(row[n]) for row in body)) + 2 for n in range(len(head))]
    groups: list[tuple[int, ...]] = [(0, 1)]
    for column in range(2, len(head)):
        more = (*groups[-1], column)
        if width is None or len(more) == 3 or sum(wide[n] for n in more) - 2 <= width:
            groups[-1] = more
        else:
            groups.append((0, 1, column))
    tables = [_table([[row[n] for n in some] for row in body], [head[n] for n in some]) for some in groups]
    return "\n\n".join(tables)


def _share(f: Ticks) -> str:
    return f"{f.nominal:.4g}" if f.low == f.high else f"{f.nominal:.4g} ({f.low:.4g} to {f.high:.4g})"


def _answer(found: "Difference") -> str:
    return f"{found.ticks}  {found.cheaper:.0%}"


def _load_rows(one: Mix, loads: "Sequence[Load]") -> list[tuple[str, ...]]:
    ticks = (one.name, _share(one.f), *(tidy(found.per_exit.median) for found in loads))
    if one.per_second is None:
        return [ticks]
    percent = ("", f"at {tidy(one.per_second.nominal)}/s", *(_percent(found) for found in loads))
    return [ticks, percent]


def _percent(found: "Load") -> str:
    return "" if found.percent is None else f"{found.percent.median:.2g} %"


def calibration_text(found: Calibration) -> str:
    """Return the targets as a table, the reason of what is missed, and the count."""
    head = ("target", "published", "tolerated", "model", "predicted", "residual", "status")
    reasons = [f"{one.what}: {one.reason}" for one in found.outcomes if one.status == EXPECTED]
    return "\n".join(
        [
            "The model against what was published. Predicted: without the prices derived from that number.",
            _table(as_rows(found), head),
            "",
            *reasons,
            found.summary(),
        ]
    )


def evidence_text(event: str) -> str:
    """Return every row on an event as a table; PriceError where nothing is known."""
    head = ("event", "on", "low", "nominal", "high", "unit", "known", "how")
    body = [(*one[:6], one.known, fill(one.how, 60)) for one in evidence(event)]
    return _table(body, head)
