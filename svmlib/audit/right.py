"""What is right in the exercise on costs, and what is often done instead: each mistake and its reason."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .given import Counts, Interval, Path, Prices

#: What a mistake is -> a function that makes it.
Mistakes = Mapping[str, Callable[..., Any]]
#: From this probability on an answer is sure enough to be given.
SURE = 0.95


def total(events: Counts, costs: Prices) -> Interval:
    """The bill of counts that may be negative: low, nominal, high."""
    low = nominal = high = 0.0
    for event, times in events.items():
        cheap, usual, dear = costs[event]
        low += times * (cheap if times > 0 else dear)
        nominal += times * usual
        high += times * (dear if times > 0 else cheap)
    return low, nominal, high


def average(path: Path, f: float) -> dict[str, float]:
    """The counts of one exit on average, a share f of which reach vcpu_put."""
    kernel, user = path["kernel"], path["user"]
    return {event: (1 - f) * kernel.get(event, 0) + f * user.get(event, 0) for event in {**kernel, **user}}


def less(a: Counts, b: Counts) -> dict[str, float]:
    """The counts of a less those of b."""
    return {event: a.get(event, 0) - b.get(event, 0) for event in {**a, **b}}


def gaps(a: Path, b: Path, costs: Prices) -> tuple[float, float]:
    """What a costs more than b, nominally, at f = 0 and at f = 1."""
    at_0, at_1 = (total(less(a[kind], b[kind]), costs)[1] for kind in ("kernel", "user"))
    return at_0, at_1


def border(a: Path, b: Path, costs: Prices) -> float | None:
    """The share at which a and b cost the same, nominally; None where there is none from 0 to 1."""
    f = _unlimited(a, b, costs)
    return f if f is not None and 0 <= f <= 1 else None


def _unlimited(a: Path, b: Path, costs: Prices) -> float | None:
    at_0, at_1 = gaps(a, b, costs)
    return None if at_0 == at_1 else at_0 / (at_0 - at_1)


def _put_twice(a: Path, b: Path, costs: Prices) -> float | None:
    f = _put_twice_unlimited(a, b, costs)
    return f if 0 <= f <= 1 else None


def _put_twice_unlimited(a: Path, b: Path, costs: Prices) -> float:
    at_0, at_1 = gaps(a, b, costs)
    return -at_0 / at_1 if at_1 else -1.0


def chance(a: Path, b: Path, f: float, draws: Sequence[Counts]) -> float:
    """The share of the draws in which a is the cheaper one."""
    gap = less(average(a, f), average(b, f))
    return sum(sum(times * draw[event] for event, times in gap.items()) < 0 for draw in draws) / len(draws)


def load(ticks: float, per_second: float, mhz: float) -> float:
    """Percent of a core."""
    return 100 * ticks * per_second / (mhz * 1e6)


def decide(a: Path, b: Path, f: float, draws: Sequence[Counts]) -> str:
    """Who is cheaper, if that is 95 % sure."""
    sure = chance(a, b, f, draws)
    return "a" if sure >= SURE else "b" if sure <= 1 - SURE else "open"


def limit(a: Path, b: Path, f: float, costs: Prices) -> float:
    """The price of LTR at which a and b cost the same."""
    gap = less(average(a, f), average(b, f))
    return -total({**gap, "LTR": 0.0}, costs)[1] / gap["LTR"]


# What is often done instead.


def _once(events: Counts, costs: Prices) -> Interval:
    return total(dict.fromkeys(events, 1.0), costs)


def _same_ends(events: Counts, costs: Prices) -> Interval:
    low, nominal, high = (sum(n * costs[event][at] for event, n in events.items()) for at in range(3))
    return low, nominal, high


def _on_top(path: Path, f: float) -> dict[str, float]:
    kernel, user = path["kernel"], path["user"]
    return {event: kernel.get(event, 0) + f * user.get(event, 0) for event in {**kernel, **user}}


TOTAL: Mistakes = {
    "Each event counts once here, however often it happened.": _once,
    "A negative count is lowest where its price is highest: its low end belongs to high.": _same_ends,
}
AVERAGE: Mistakes = {
    "An exit that reaches vcpu_put is in place of a kernel exit, not on top; weigh by 1 − f and f.": _on_top,
    "The weights are the other way round: f is the share of user.": lambda path, f: average(path, 1 - f),
}
LESS: Mistakes = {
    "This is b less a.": lambda a, b: less(b, a),
    "What only b has is missing; it counts negative.": lambda a, b: {
        e: n - b.get(e, 0) for e, n in a.items()
    },
}
BORDER: Mistakes = {
    "Where no share from 0 to 1 makes them equal, one path always wins, and the answer is None.": _unlimited,
    "user holds all of an exit: what a put adds is user less kernel.": _put_twice,
    "What a put adds is user less kernel; and where no share from 0 to 1 fits, it is None.": (
        _put_twice_unlimited
    ),
}
CHANCE: Mistakes = {
    "This is the probability that b is the cheaper one.": lambda a, b, f, draws: chance(b, a, f, draws),
    "The share f is not in it: this is the answer at f = 0.": lambda a, b, f, draws: chance(a, b, 0.0, draws),
}
LOAD: Mistakes = {
    "This is a fraction; percent is a hundred times that.": lambda *case: load(*case) / 100,
    "A MHz is a million ticks a second.": lambda *case: load(*case) * 1e6,
}
DECIDE: Mistakes = {
    "Where neither is 95 % sure, the answer is open.": lambda *case: "a" if chance(*case) > 0.5 else "b",
    "a and b are mixed up.": lambda a, b, f, draws: decide(b, a, f, draws),
}
LIMIT: Mistakes = {"The sign is the other way round.": lambda *case: -limit(*case)}
