"""Whether the page of a VMSAVE or VMLOAD is near: a cache state that is carried through a trace.

Both instructions touch three cache lines and one TLB entry of their page.  Whatever runs in between
displaces lines; once as many have passed as the CPU keeps, the page is cold again.  So a page touched on
every exit stays warm, and one touched only on vcpu_put may not.  The three numbers are assumptions
(data/cache.csv): move them.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache as once
from itertools import groupby
from math import ceil
from typing import NamedTuple

from ..data import rows
from ..trace import Step

#: The events of a cold page, and of one that was fetched early.
COLD = ("cold operand", "cold TLB entry")
PREFETCH, LATE = "prefetch", "cold operand prefetched"
#: The kinds of exit that end with vcpu_put.
PUTS = ("user", "sched")
_TOUCH = ("VMSAVE", "VMLOAD")
#: A path's functions that run at the beginning of a period.
_SAVE = ("vcpu_load", "prepare_switch_to_guest")
#: Tokens of a trace that displace lines: a run of the guest, another thread or user space.
_GUEST, _AWAY = -1, -2
_DISPLACES = {"guest": _GUEST, "SYSCALL": _AWAY, "switch_to": _AWAY}


class Cache(NamedTuple):
    """Lines that the CPU keeps near, and those that a run of the guest or a stay in user space displaces."""

    capacity: int
    guest: int
    user: int
    #: Whether the page is fetched early, as Xen does for the context switch of its PV guests.
    prefetch: bool = False


@once
def usual() -> Cache:
    """Return the nominal numbers of data/cache.csv."""
    number = {row["name"]: int(row["nominal"]) for row in rows("cache")}
    return Cache(number["capacity"], number["guest"], number["user"])


def cold(steps: Iterable[Step], cache: Cache) -> Counter[str]:
    """Return what the pages of a trace cost beyond warm ones: events of the price list, and how often.

    A page that the trace touches for the first time counts as cold; each CPU has a cache of its own.
    """
    states: dict[int, _State] = {}
    for step in steps:
        state = states.setdefault(step.cpu, _State(cache))
        for token in _tokens([step]):
            state.take(token)
    return sum((state.found for state in states.values()), Counter())


def replay(kinds: Mapping[str, list[Step]], words: Iterable[str], cache: Cache) -> Counter[str]:
    """Return the same for a sequence of exits of one vCPU: "kernel", "user" or "sched" each.

    `kinds` are a path's typical exits (svmlib.kvm.run.typical_exits); nothing is simulated again.  The first
    touch of a page is cold.
    """
    period = _Period(kinds)
    state = _State(cache)
    at_start = True
    for word, alike in groupby(words):
        if word not in ("kernel", *PUTS):
            raise ValueError(f"no exit {word!r} to replay; write kernel, user or sched")
        times = sum(1 for _ in alike)
        if word == "kernel":
            state.run(period.save if at_start else ())
            period.stays(state, times)
        else:
            state.run((period.save if at_start else ()) + period.leave)
            state.run((period.save + period.leave) * (times - 1))
        at_start = word in PUTS
    return state.found


def per_exit(kinds: Mapping[str, list[Step]], share: float, cache: Cache) -> dict[str, float]:
    """Return the same for one exit on average, where each exit ends in vcpu_put with probability `share`.

    A period then has n exits with probability share·(1 − share)^(n − 1).  From some n on nothing more becomes
    cold but what each further exit brings, so the sum ends there and its tail is closed: the work does not
    grow as `share` goes to 0.
    """
    period = _Period(kinds)
    last = ceil(cache.capacity / max(cache.guest, 1)) + 3
    each = period.slope(cache)
    if share <= 0:
        return dict(each)
    total: Counter[str] = Counter()
    left = 1.0
    n = 1
    while n < last and left > 1e-9:
        for event, times in period.cold(n, cache).items():
            total[event] += share * left * times  # type: ignore[assignment]
        left *= 1 - share
        n += 1
    for event, times in period.cold(n, cache).items():
        total[event] += left * times  # type: ignore[assignment]
    for event, times in each.items():
        total[event] += left * (1 - share) / share * times  # type: ignore[assignment]
    return {event: share * times for event, times in total.items()}


class _State:
    """One CPU's cache: lines displaced so far, and when each page was last touched."""

    def __init__(self, cache: Cache):
        self.cache = cache
        self.passed = 0
        self.away = False
        self.touched: dict[int, int] = {}
        self.found: Counter[str] = Counter()

    def run(self, tokens: Iterable[int]) -> None:
        for token in tokens:
            self.take(token)

    def take(self, token: int) -> None:
        """Let a page be touched (its address), or lines be displaced.

        To another thread, its system call and back is one stay away (data/cache.csv, "user"), not three.
        """
        was_away, self.away = self.away, token == _AWAY
        if token < 0:
            if not (was_away and self.away):
                self.passed += self.cache.user if self.away else self.cache.guest
            return
        since = self.touched.get(token)
        is_cold = since is None or self.passed - since >= self.cache.capacity
        if self.cache.prefetch:
            self.found[PREFETCH] += 1
            self.found[LATE] += is_cold
        elif is_cold:
            self.found.update(COLD)
        self.touched[token] = self.passed


class _Period:
    """What a path's typical exits touch, in order: at the start of a period, on each exit, at its end."""

    def __init__(self, kinds: Mapping[str, list[Step]]):
        user = kinds["user"]
        saved = next((i for i, step in enumerate(user) if step.phase not in _SAVE), len(user))
        self.save = _tokens(user[:saved])
        leave = _tokens(user[saved:])
        self.leave = leave if _AWAY in leave else (*leave, _AWAY)
        self.stay = _tokens(kinds["kernel"])

    def cold(self, n: int, cache: Cache) -> Counter[str]:
        """Return what a period of `n` exits costs after another such one."""
        state = _State(cache)
        for _ in range(2):
            state.found = Counter()
            state.run(self.save)
            self.stays(state, n - 1)
            state.run(self.leave)
        return +state.found

    def stays(self, state: _State, times: int) -> None:
        """Let `times` exits be handled in the kernel; those alike are counted and not run."""
        if times < 4:
            state.run(self.stay * times)
            return
        state.run(self.stay * 2)
        before = Counter(state.found)
        state.run(self.stay)
        each = state.found - before
        skipped = times - 4
        for event, count in each.items():
            state.found[event] += skipped * count
        moved = skipped * state.cache.guest * self.stay.count(_GUEST)
        state.passed += moved
        pages = set(self.stay)
        state.touched = {page: at + moved * (page in pages) for page, at in state.touched.items()}
        state.run(self.stay)

    def slope(self, cache: Cache) -> Counter[str]:
        """Return what one more exit adds to a long period."""
        state = _State(cache)
        state.run(self.stay * 2)
        before = Counter(state.found)
        state.run(self.stay)
        return state.found - before


def _tokens(steps: Iterable[Step]) -> tuple[int, ...]:
    found = []
    for step in steps:
        if step.event in _TOUCH and step.side == "host" and isinstance(step.operand, int):
            found.append(step.operand & ~0xFFF)
        elif step.event in _DISPLACES:
            found.append(_DISPLACES[step.event])
    return tuple(found)
