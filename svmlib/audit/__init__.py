"""What the exercise on costs asserts: bills, differences, borders, probabilities, decisions, on plain data.

Beside `check`, which asks about paths.  Every check tries a learner's function on the model's own numbers
and, with `name`, on random ones from the class's seed.  When a result is that of a known mistake, `hint()`
says which.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .. import watch
from ..watch import Watch, failure, name_of
from . import given, right
from .given import HOSTS, PATHS, Counts, Path, Prices, counts, draws, hosts, price_list

__all__ = [
    "averages",
    "bills",
    "borders",
    "chances",
    "counts",
    "decisions",
    "differences",
    "draws",
    "hosts",
    "limits",
    "loads",
    "price_list",
]

#: Where the answers are: a learner's function that comes from there, or names it, is refused.
_REFERENCE = ("svmlib.costs", "svmlib.decide", "svmlib.audit", "svmlib.compare")


def bills(total: Callable[[Counts, Prices], Sequence[float]], name: str = "") -> None:
    """Check `total(counts, prices)`: (low, nominal, high) of counts that may be negative."""
    costs = price_list()
    cases: list[tuple[Any, Any, str]] = [
        (counts(path)[kind], costs, f"the bill of an exit {kind} of {path}")
        for path in PATHS
        for kind in ("kernel", "user")
    ]
    cases += [
        ({"VMLOAD": -1.0}, costs, "one VMLOAD less"),
        (right.less(counts("lazy")["kernel"], counts("merged")["kernel"]), costs, "lazy less merged"),
    ]
    for random, made in given.random_lists(name):
        events = {event: float(random.randint(-3, 9)) for event in random.sample(list(made), 6)}
        cases.append((events, made, "random counts on a random list"))
    for events, list_, what in cases:
        _compare(total, (events, list_), right.total, what, right.TOTAL)
    print(f"ok: {len(cases)} bills")


def averages(average: Callable[[Path, float], Counts], name: str = "") -> None:
    """Check `average(path, f)`: the counts of one exit where a share f of the exits reaches vcpu_put."""
    cases: list[tuple[Path, float]] = [(counts(path), f) for path in PATHS for f in (0.0, 0.25, 1.0)]
    cases += [
        (given.random_path(random, list(made)), random.random()) for random, made in given.random_lists(name)
    ]
    for case in cases:
        _compare(average, case, right.average, f"the average exit at f = {case[1]:g}", right.AVERAGE)
    print(f"ok: {len(cases)} mixes")


def differences(less: Callable[[Counts, Counts], Counts], name: str = "") -> None:
    """Check `less(a, b)`: the counts of a less those of b; an event of which nothing is left may be there."""
    users = [counts(path)["user"] for path in PATHS]
    cases: list[tuple[Counts, Counts]] = [(a, b) for a in users for b in users]
    for random, made in given.random_lists(name):
        path = given.random_path(random, list(made))
        cases.append((path["kernel"], path["user"]))
    for case in cases:
        _compare(less, case, right.less, "the difference of two paths", right.LESS)
    print(f"ok: {len(cases)} differences")


def borders(border: Callable[[Path, Path, Prices], float | None], name: str = "") -> None:
    """Check `border(a, b, prices)`: the f at which a and b cost the same, nominally; None if none does."""
    cases: list[tuple[Path, Path, Prices]] = [
        (counts(a), counts(b), price_list()) for a in PATHS for b in PATHS if a != b
    ]
    for random, made in given.random_lists(name, 40):
        pair = [given.random_path(random, list(made)) for _ in range(2)]
        cases.append((*pair, made))  # type: ignore[arg-type]
    # At a border of exactly 0 or 1 both answers can be defended, so it is not asked for.
    cases = [case for case in cases if all(abs(gap) > 1e-6 for gap in right.gaps(*case))]
    for case in cases:
        _compare(border, case, right.border, "the share at which two paths cost the same", right.BORDER)
    print(f"ok: {len(cases)} pairs of paths")


def chances(chance: Callable[[Path, Path, float, Sequence[Counts]], float], name: str = "") -> None:
    """Check `chance(a, b, f, draws)`: the share of the draws in which a is the cheaper one."""
    cases: list[tuple[Path, Path, float, list[dict[str, float]]]] = [
        (counts("lazy"), counts("merged"), f, draws(100)) for f in (0.0, 0.059, 0.486)
    ]
    cases.append((counts("merged"), counts("legacy"), 0.1, draws(100)))
    for random, made in given.random_lists(name, 3):
        a, b = (given.random_path(random, list(made)) for _ in range(2))
        cases.append((a, b, random.random(), draws(60, f"{name} {random.random()}", made)))
    for case in cases:
        what = f"the probability that a is cheaper at f = {case[2]:.3g}"
        _compare(chance, case, right.chance, what, right.CHANCE)
    print(f"ok: {len(cases)} probabilities")


def loads(load: Callable[[float, float, float], float], name: str = "") -> None:
    """Check `load(ticks, per_second, mhz)`: percent of a core."""
    random = given.drawn(f"{name} loads")
    cases = [(200.0, 100_000.0, 2000.0), (64.0, 615_942.0, 1600.0)]
    ranges = ((50, 3000), (1e3, 5e5), (1500, 4000))
    cases += [tuple(random.uniform(*one) for one in ranges) for _ in range(5)]  # type: ignore[misc]
    for case in cases:
        words = f"{case[0]:,.0f} ticks, {case[1]:,.0f} times a second, at {case[2]:,.0f} MHz"
        _compare(load, case, right.load, words, right.LOAD)
    print(f"ok: {len(cases)} loads")


def decisions(
    decide: Callable[[Path, Path, float, Sequence[Counts]], str],
    answers: object = ...,
    name: str = "",
) -> None:
    """Check `decide(a, b, f, draws)`: "a", "b", or "open" where neither is 95 % sure; answers, if given."""
    cases: list[tuple[Path, Path, float, list[dict[str, float]]]] = [
        (counts("lazy"), counts("merged"), host["f"], draws()) for host in hosts().values()
    ]
    cases.append((counts("merged since 2023"), counts("lazy"), 0.059, draws()))
    random = given.drawn(f"{name} decisions")
    for _ in range(6 if name else 0):
        a, b = random.sample([counts(path) for path in PATHS], 2)
        cases.append((a, b, random.random() ** 2, draws(200, f"{name} {random.random()}", price_list())))
    for case in cases:
        # Where one draw more would change the answer, it is not asked for.
        if min(abs(right.chance(*case) - edge) for edge in (right.SURE, 1 - right.SURE)) > 0.01:
            _compare(decide, case, right.decide, f"who is cheaper at f = {case[2]:.3g}", right.DECIDE)
    print(f"ok: {len(cases)} decisions")
    if answers is not ...:
        _right_answers(answers)


def limits(limit: Callable[[Path, Path, float, Prices], float], name: str = "", points: float = 2) -> float:
    """Return `points` if `limit(a, b, f, prices)` is the price of LTR at which a and b cost the same."""
    since = counts("merged since 2023")
    cases: list[tuple[Path, Path, float, Prices]] = [
        (counts(path), since, f, price_list()) for path in ("lazy", "merged") for f in (0.0, 0.059)
    ]
    for random, made in given.random_lists(name, 4):
        cases.append((counts(random.choice(["lazy", "hybrid", "legacy"])), since, random.random(), made))
    try:
        for case in cases:
            what = f"the price of LTR that decides at f = {case[2]:.3g}"
            _compare(limit, case, right.limit, what, right.LIMIT)
    except watch.CheckFailed as failed:
        print(f"0 of {points} bonus points: {failed}")
        return 0
    print(f"{points} of {points} bonus points")
    return points


# -- trying a learner's function -----------------------------------------------------------------------------


def _compare(
    function: Callable[..., Any],
    case: tuple[Any, ...],
    reference: Callable[..., Any],
    what: str,
    mistakes: right.Mistakes,
) -> None:
    """Call a learner's function: CheckFailed tells what came out, what should, and, if it is known, why."""
    _require_own(function)
    with Watch(function):
        found = function(*_copied(case))
    expected = reference(*case)
    if not _same(found, expected):
        known = [why for why, wrong in mistakes.items() if _same(found, wrong(*case))]
        symptom = (
            f"{name_of(function)} says {_told(found, expected)} for {what}; it is {_told(expected, found)}."
        )
        raise failure(symptom, "\n".join([*known, *(f"Given: {_shown(one)}" for one in case)]))


def _copied(case: Iterable[Any]) -> list[Any]:
    """Return the arguments as copies, so that a function that changes one spoils nothing."""
    return [_copy(one) for one in case]


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(one) for key, one in value.items()}
    return [_copy(one) for one in value] if isinstance(value, list) else value


def _same(found: Any, expected: Any) -> bool:
    """Whether two results are equal but for rounding; in counts a zero may be left out."""
    if isinstance(expected, Mapping):
        if not isinstance(found, Mapping):
            return False
        return all(_same(found.get(key, 0), expected.get(key, 0)) for key in {*found, *expected})
    if isinstance(expected, tuple):
        pairs = isinstance(found, (tuple, list)) and len(found) == len(expected)
        return pairs and all(map(_same, found, expected))
    if isinstance(expected, float | int):
        number = isinstance(found, float | int) and not isinstance(found, bool)
        return number and math.isclose(found, expected, rel_tol=1e-6, abs_tol=1e-9)
    return type(found) is type(expected) and bool(found == expected)


def _told(value: Any, other: Any) -> str:
    """Show a result; of two counts only the events in which they differ."""
    if isinstance(value, Mapping) and isinstance(other, Mapping):
        events = [key for key in sorted({*value, *other}) if not _same(value.get(key, 0), other.get(key, 0))]
        return ", ".join(f"{key}: {_shown(value.get(key, 0))}" for key in events[:3]) + ", …" * (
            len(events) > 3
        )
    return _shown(value)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, tuple):
        return f"({', '.join(map(_shown, value))})"
    text = repr(value)
    return text if len(text) <= 160 else f"{text[:160]}…"


def _require_own(function: Any) -> None:
    """Raise CheckFailed if `function` is the library's own, or names what is."""
    for name, value in watch._reached(function):
        module = str(getattr(value, "__module__", None) or getattr(value, "__name__", ""))
        code = getattr(value, "__code__", None)
        imported = code is not None and any(each.startswith(_REFERENCE) for each in watch._names(code))
        if imported or module.startswith(_REFERENCE):
            how = "is" if value is function and not imported else f"uses {name},"
            raise failure(f"{name_of(function)} {how} the library's own; the exercise asks for yours")


def _right_answers(answers: object) -> None:
    if not isinstance(answers, Mapping):
        why = "Write it as the cell had it: a dict with each host's name and lazy, merged or open."
        raise failure(f"answers is {answers!r}, and names no host.", why)
    words = {"a": "lazy", "b": "merged", "open": "open"}
    for host in HOSTS:
        f = hosts()[host]["f"]
        expected = words[right.decide(counts("lazy"), counts("merged"), f, draws())]
        if answers.get(host) != expected:
            why = f"Lazy against merged on epyc-2020 at f = {f:.3g}; an answer is lazy, merged or open."
            raise failure(f"{host}: {answers.get(host)!r} is not what the draws say.", why)
    print(f"ok: {len(HOSTS)} hosts")
