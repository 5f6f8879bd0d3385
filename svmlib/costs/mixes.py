"""Exit mixes: which share of a host's exits reaches vcpu_put, how many there are a second, and why they come.

What a path costs on a host depends on two numbers: the share f of exits after which the vCPU is put, because
its thread goes to user space or is scheduled out, and how many exits there are a second.  data/mixes.csv has
published hosts, all of them Intel's, and assumed ones; any other mix is made by hand or counted.
"""

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from ..data import rows
from .prices import Ticks


class MixError(ValueError):
    """A mix that contradicts itself, or does not exist; one line."""


class Mix(NamedTuple):
    """A host's exits.  A number is (low, nominal, high)."""

    name: str
    title: str
    #: The share f of exits that reach vcpu_put, 0 to 1; None where nobody counted it.
    share: Ticks | None
    #: Exits a second; None where nobody counted them.
    per_second: Ticks | None = None
    #: Reason -> share of the exits; they sum to one, or there are none.
    reasons: Mapping[str, float] = {}
    #: published, derived, measured or assumed.
    label: str = "assumed"
    source: tuple[str, ...] = ()
    note: str = ""

    def at(self, share: float, low: float | None = None, high: float | None = None) -> "Mix":
        """Return the mix with the share f that you give; MixError unless 0 ≤ low ≤ share ≤ high ≤ 1."""
        interval = Ticks(share if low is None else low, share, share if high is None else high)
        return checked(self._replace(share=interval, label="assumed"))

    @property
    def f(self) -> Ticks:
        """The share; MixError where nobody counted it, which says how to give one."""
        if self.share is None:
            raise MixError(
                f"the mix {self.name} tells why guests left and not how many exits reached vcpu_put: "
                "give that share yourself, with .at(0.06) or --share 0.06"
            )
        return self.share


def counted(
    name: str, exits: int, puts: int, seconds: float | None = None, reasons: Mapping[str, int] | None = None
) -> Mix:
    """Make a mix of counts: all exits, those that reached vcpu_put, and how often each reason came."""
    if not 0 <= puts <= exits or not exits:
        raise MixError(
            f"the mix {name}: {puts} of {exits} exits cannot have reached vcpu_put; 0 ≤ puts ≤ exits"
        )
    share, rate = puts / exits, exits / seconds if seconds else None
    total = sum((reasons or {}).values())
    return checked(
        Mix(
            name,
            name,
            Ticks(share, share, share),
            Ticks(rate, rate, rate) if rate else None,
            {reason: count / total for reason, count in (reasons or {}).items()},
            "measured",
        )
    )


def by_reason(name: str, reasons: Mapping[str, tuple[float, float]], per_second: float | None = None) -> Mix:
    """Make a mix of reasons, reason -> (share of the exits, share of those that reach vcpu_put)."""
    shares = {reason: part for reason, (part, _) in reasons.items()}
    for reason, (_, put) in reasons.items():
        if not 0 <= put <= 1:
            raise MixError(f"the mix {name}, {reason}: {put:g} of its exits reach vcpu_put; write 0 to 1")
    share = sum(part * put for part, put in reasons.values())
    rate = Ticks(per_second, per_second, per_second) if per_second else None
    return checked(Mix(name, name, Ticks(share, share, share), rate, shares))


def checked(mix: Mix) -> Mix:
    """Return `mix`; MixError names what contradicts itself."""
    if mix.share is not None:
        low, nominal, high = mix.share
        if not 0 <= low <= nominal <= high <= 1:
            raise MixError(
                f"the mix {mix.name}: share {low:g}, {nominal:g}, {high:g}; write 0 ≤ low ≤ share ≤ high ≤ 1"
            )
    if mix.per_second is not None:
        low, nominal, high = mix.per_second
        if not 0 < low <= nominal <= high < float("inf"):
            raise MixError(
                f"the mix {mix.name}: {low:g}, {nominal:g}, {high:g} exits a second; write 0 < low ≤ … ≤ high"
            )
    if mix.reasons:
        total = sum(mix.reasons.values())
        if abs(total - 1) > 0.005 or min(mix.reasons.values()) < 0:
            parts = ", ".join(f"{reason} {share:g}" for reason, share in mix.reasons.items())
            raise MixError(
                f"the mix {mix.name} sums to {total:g} ({parts}); its shares must be ≥ 0 and sum to 1"
            )
    return mix


@cache
def mixes() -> Mapping[str, Mix]:
    """Return the mixes of data/mixes.csv by name."""
    return {row["mix"]: _read(line, row) for line, row in enumerate(rows("mixes"), 2)}


def mix(name: str) -> Mix:
    """Return the mix `name`; MixError names those that exist."""
    try:
        return mixes()[name]
    except KeyError:
        raise MixError(f"no exit mix {name!r}; there is {', '.join(mixes())}") from None


def _read(line: int, row: Mapping[str, str]) -> Mix:
    where = f"mixes.csv, line {line} ({row['mix']})"
    try:
        share, rate = (_interval(row, column) for column in ("share", "per_second"))
        pairs = (part.rpartition(":") for part in row["reasons"].split("; ") if part)
        reasons = {reason: float(number) for reason, _, number in pairs}
        source = tuple(row["source"].split())
        return checked(Mix(row["mix"], row["title"], share, rate, reasons, row["label"], source, row["note"]))
    except ValueError as error:
        raise MixError(f"{where}: {error}") from None


def _interval(row: Mapping[str, str], column: str) -> Ticks | None:
    names = (f"{column}_low", column, f"{column}_high") if column == "per_second" else ("low", column, "high")
    texts = [row[name] for name in names]
    return Ticks(*map(float, texts)) if any(texts) else None
