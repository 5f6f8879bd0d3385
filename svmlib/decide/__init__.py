"""Which path is cheaper, and for whom: every path on every host's exits, with what is not known.

The prices are intervals, so each answer is a distribution: the break-even share of exits that reach vcpu_put,
the difference of two paths on each host with its sign's probability, and the share of a core that the host's
state costs.  How far to trust the model: `calibration`, or --targets on the command line.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..costs import ExitCosts, Mix, PriceError, PriceList, Terms, exit_costs, lists, mixes, prices
from ..costs.targets import Calibration, calibrate
from ..data import rows
from ..kvm import Host
from ..kvm.run import typical_exits
from ..paths import PATHS, upstream_6_1, vmload_before_stgi
from ..trace import Step

if TYPE_CHECKING:
    from ..costs.chance import Border, Difference, Load

PRICES = lists.ROOT
#: The paths that are compared, beside those of PATHS.
BY_WRMSR = "lazy_by_wrmsr"
SINCE_2023, DEBIAN_12 = "since_2023", "upstream_6_1"
#: The pairs of which the command asks who is cheaper.
PAIRS = (
    ("lazy", "vmload_before_stgi"),
    ("lazy", SINCE_2023),
    ("hybrid", "vmload_before_stgi"),
    ("vmload_before_stgi", "legacy"),
)
#: The host's state alone: what every path pays is left out.
TERMS = Terms(switch=False)
CAVEAT = """\
The published difference between the two finalists is two samples each on a CPU that nobody named, at f = 1.
Lazy gains about 24 ticks an exit, less than the 100 that the review asked for; VMLOAD before STGI was chosen
for being simple and safe there, not because anybody had measured it to be faster in general."""


class Decision(NamedTuple):
    """Everything that the command prints."""

    prices: PriceList
    draws: int
    seed: int
    paths: dict[str, ExitCosts]
    mixes: list[Mix]
    #: (a, b) -> the break-even share; None where a cache makes the difference no straight line.
    borders: "dict[tuple[str, str], Border | None]"
    #: A mix -> a difference for each pair, and a load for each path.
    differences: "dict[str, list[Difference]]"
    loads: "dict[str, list[Load]]"

    def __str__(self) -> str:
        """Write it as tables."""
        from .text import as_text

        return as_text(self)

    def _repr_html_(self) -> str:
        from ..views.knowledge import answers

        return answers(self)


def typical(fsgsbase: bool = True) -> dict[str, dict[str, list[Step]]]:
    """Return the typical exits of every path that is compared, by name."""
    host = Host(seed=1, fsgsbase=fsgsbase)
    own = {name: typical_exits(path, host) for name, path in PATHS.items()}
    own[SINCE_2023] = typical_exits(vmload_before_stgi.since_2023, host)
    own[DEBIAN_12] = typical_exits(upstream_6_1, host)
    own[BY_WRMSR] = typical_exits(PATHS["lazy"], host._replace(fsgsbase=False))
    return own


def decide(
    costs: PriceList | None = None,
    chosen: Sequence[Mix] | None = None,
    pairs: Sequence[tuple[str, str]] = PAIRS,
    terms: Terms = TERMS,
    draws: int = 10_000,
    seed: int = 2020,
    steps: Mapping[str, Mapping[str, list[Step]]] | None = None,
) -> Decision:
    """Price the paths (`steps`, or all of them) on `costs` for the hosts `chosen`, and compare each pair.

    Raises PriceError or MixError, one line, for what does not fit, ModuleNotFoundError without numpy.
    """
    try:
        from ..costs import chance
    except ModuleNotFoundError as error:
        why = f"distributions need {error.name}, which is missing; pip install numpy"
        raise ModuleNotFoundError(why) from None
    costs = costs or prices(PRICES)
    chosen = [one for one in mixes().values() if one.share] if chosen is None else list(chosen)
    steps = steps or typical(fsgsbase=_has_fsgsbase(costs))
    paths = {name: exit_costs(name, kinds, costs, terms) for name, kinds in steps.items()}
    for name in {name for pair in pairs for name in pair}:
        if name not in paths:
            raise PriceError(f"no path {name!r}; there is {', '.join(paths)}")
    drawn = chance.draws_for(paths.values(), draws, seed)
    return Decision(
        costs,
        draws,
        seed,
        paths,
        chosen,
        {(a, b): None if terms.cache else chance.border(paths[a], paths[b], drawn) for a, b in pairs},
        {one.name: [chance.difference(paths[a], paths[b], one, drawn) for a, b in pairs] for one in chosen},
        {one.name: [chance.load(path, one, drawn) for path in paths.values()] for one in chosen},
    )


def calibration() -> Calibration:
    """Return what the model says of every published measurement, and without what was derived from it."""
    return calibrate(typical())


def _has_fsgsbase(costs: PriceList) -> bool:
    row = next((row for row in rows("price_lists") if row["price_list"] == costs.name), None)
    return row is None or row["fsgsbase"] == "yes"
