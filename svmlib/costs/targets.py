"""The calibration: published measurements that the model has to meet, and what it would say without them.

A target is a row of data/targets.csv: a quantity on a price list, the published value, a tolerance, and the
prices that were derived from that very value.  It is evaluated twice: with the list as it is, and with those
prices taken out and other estimates in their place that do not go back to it (data/estimates.csv).  Only the
second is a prediction.  Where no such estimate exists, meeting the target is an *identity*, and no success.
A target that the model misses stays, with the reason in the data.
"""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from ..data import rows
from ..trace import Step
from .bills import bill
from .breakeven import Counts
from .exits import exit_costs
from .lists import prices
from .prices import Price, PriceError, PriceList, tidy

#: Path -> "kernel" and "user" -> the steps of such an exit (svmlib.kvm.run.typical_exits).
Paths = Mapping[str, Mapping[str, list[Step]]]

PREDICTED, IDENTITY, EXPECTED, FAILED = "predicted", "identity", "expected failure", "FAILED"


class Outcome(NamedTuple):
    """A target and what came of it."""

    target: str
    what: str
    value: float
    #: The residual that is tolerated, from and to.
    low: float
    high: float
    #: What the list says, and what it says without the prices derived from the value; None: nothing is left.
    fitted: float
    predicted: float | None
    #: The prices that were taken out.
    derived: tuple[str, ...]
    #: The break-even's 5 to 95 %, where the target asks for it.
    spread: tuple[float, float] | None
    status: str
    reason: str
    #: The target that tests the same thing, or "".
    same_as: str

    @property
    def residual(self) -> float | None:
        """The prediction less the published value; None for an identity."""
        return None if self.predicted is None else self.predicted - self.value


class Calibration(NamedTuple):
    """All targets."""

    outcomes: list[Outcome]
    #: Prices that were derived from a target: the free parameters.
    free: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether none failed, and at most one was expected to."""
        statuses = [one.status for one in self.outcomes]
        return FAILED not in statuses and statuses.count(EXPECTED) <= 1

    def summary(self) -> str:
        """Count the outcomes in a sentence or two."""
        times = Counter(one.status for one in self.outcomes)
        own = sum(one.status == PREDICTED and not one.same_as for one in self.outcomes)
        return (
            f"{len(self.outcomes)} targets, {len(self.free)} free parameters. "
            f"{times[PREDICTED]} are predicted without the prices derived from them "
            f"({own} independent checks), "
            f"{times[IDENTITY]} are identities and no success, {times[EXPECTED]} an expected failure, "
            f"{times[FAILED]} failed."
        )


def calibrate(paths: Paths, lists: Mapping[str, PriceList] | None = None) -> Calibration:
    """Evaluate every target with the bills of `paths`; `lists` replaces price lists by name (what if)."""
    outcomes = [_outcome(row, paths, lists or {}) for row in rows("targets")]
    free = dict.fromkeys(f"{row['price_list']}: {event}" for row in rows("targets") for event in _events(row))
    return Calibration(outcomes, tuple(free))


def _outcome(row: Mapping[str, str], paths: Paths, lists: Mapping[str, PriceList]) -> Outcome:
    costs = lists.get(row["price_list"]) or prices(row["price_list"])
    value, low, high = _published(row["value_of"]), float(row["low"]), float(row["high"])
    fitted = _evaluate(row, costs, paths)
    without = _without(row, costs)
    predicted = None if without is None else _evaluate(row, without, paths)
    spread = _spread(costs, paths) if row["spread"] else None
    met = all(low <= one - value <= high for one in (fitted, *(spread or ())))
    status = _status(row, met, None if predicted is None else low <= predicted - value <= high)
    found = (value, low, high, fitted, predicted, _events(row), spread, status)
    return Outcome(row["target"], row["what"], *found, row["reason"], row["same_as"])


def _status(row: Mapping[str, str], met: bool, held: bool | None) -> str:
    if row["expected"]:
        return EXPECTED if not (met and held) and row["reason"] else FAILED
    if not met or held is False:
        return FAILED
    return IDENTITY if held is None else PREDICTED


def _events(row: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(filter(None, row["derived"].split(";")))


def _published(where: str) -> float:
    """Return the published number: "published/ID", or "profile/FUNCTION/before"."""
    table, key, *column = where.split("/")
    name, value = {"published": ("id", "value"), "profile": ("symbol", column[0] if column else "")}[table]
    return next(float(row[value]) for row in rows(table) if row[name] == key)


def _without(row: Mapping[str, str], costs: PriceList) -> PriceList | None:
    """Return the list with other estimates for what was derived from the target; None if there is none."""
    changed: dict[str, Price] = {}
    for event in _events(row):
        found = next((one for one in rows("estimates") if _is_independent(one, row, event)), None)
        if found is None:
            return None
        low, nominal, high = (float(found[column]) for column in ("low", "nominal", "high"))
        source = tuple(found["source"].split())
        changed[event] = Price(low, nominal, high, found["unit"], found["label"], source, found["note"])
    return PriceList(
        f"{costs.name} without {', '.join(changed)}", {**costs, **changed}, costs.ratio, costs.clock
    )


def quantity(target: str, paths: Paths) -> tuple[Counts, PriceList]:
    """Return what a target counts, and its price list; KeyError for a ratio, or a target that is none."""
    row = next((row for row in rows("targets") if row["target"] == target), None)
    if row is None or " over " in row["quantity"]:
        raise KeyError(f"no target {target!r} that counts events; see data/targets.csv")
    costs = prices(row["price_list"])
    return _counts(row["quantity"], costs, paths), costs


def _is_independent(estimate: Mapping[str, str], target: Mapping[str, str], event: str) -> bool:
    """Whether an estimate prices `event` on the target's list and does not go back to the target."""
    same = (estimate["price_list"], estimate["event"]) == (target["price_list"], event)
    return same and target["target"] not in estimate["uses"].split()


def _evaluate(row: Mapping[str, str], costs: PriceList, paths: Paths) -> float:
    over, _, under = row["quantity"].partition(" over ")
    value = costs.total(_counts(over, costs, paths)).nominal
    if under:
        value /= costs.total(_counts(under, costs, paths)).nominal
    return value * float(row["scale"])


def _counts(quantity: str, costs: PriceList, paths: Paths) -> Counts:
    """Read "2 VMLOAD; -1 @lazy/user/restore" as a vector of events."""
    counts: dict[str, float] = {}
    for part in quantity.split("; "):
        number, _, rest = part.partition(" ")
        times, what = (float(number), rest) if number.lstrip("-").isdecimal() else (1.0, part)
        for event, each in _named(what, costs, paths).items():
            counts[event] = counts.get(event, 0.0) + times * each
    return counts


def _named(what: str, costs: PriceList, paths: Paths) -> Counts:
    if not what.startswith("@"):
        return {what: 1}
    path, kind, *part = what[1:].split("/", 2)
    if path not in paths:
        raise PriceError(f"targets.csv asks for the path {path}, and only {', '.join(paths)} were given")
    found = bill(paths[path][kind], costs)
    return (found.by_part()[part[0]] if part else found).events


def _spread(costs: PriceList, paths: Paths) -> tuple[float, float]:
    """Return 5 and 95 % of the break-even share of the two finalists; numpy draws it."""
    from .chance import border, draws_for

    a, b = (exit_costs(name, paths[name], costs) for name in ("lazy", "vmload_before_stgi"))
    found = border(a, b, draws_for([a, b])).share
    return found.low, found.high


def as_rows(calibration: Calibration) -> list[tuple[str, ...]]:
    """Return a row a target: what, published, tolerated, model, predicted, residual, status."""
    return [
        (
            one.what,
            _number(one.value),
            f"{_number(one.low)} to {_number(one.high, plus=True)}",
            _number(one.fitted),
            "–" if one.predicted is None else _number(one.predicted),
            "–" if one.residual is None else _number(one.residual, plus=True),
            one.status,
        )
        for one in calibration.outcomes
    ]


def _number(value: float, *, plus: bool = False) -> str:
    text = f"{value:.2f}" if abs(value) < 100 and value != round(value) else tidy(value)
    return "+" + text if plus and value > 0 else text.replace("-", "−")
