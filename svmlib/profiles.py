"""Behaviour by name: what a CPU's features change, and what the sources leave open or do differently.

A feature (data/features.csv) is the machine's: it exists or not.  An option (data/options.csv) is a rule on
which sources or emulators disagree; profile "documented" follows the cited sources, "qemu72" and "bochs27"
those two.  Whether an instruction serialises is neither: it is a price.
"""

from functools import cache
from types import MappingProxyType
from typing import Any

from .data import rows


class Switches:
    """Named rules, each on or off: `switches.null_clears_base`.

    AttributeError names one that is none.
    """

    def __init__(self, **values: bool):
        """Set each switch by its name."""
        self.__dict__.update(values)

    def but(self, **values: bool) -> "Switches":
        """Return the same switches with some of them set otherwise; KeyError names one that is none."""
        if unknown := set(values) - set(self.__dict__):
            raise KeyError(f"no switch {', '.join(sorted(unknown))}; there are {', '.join(self.__dict__)}")
        return Switches(**self.__dict__ | values)

    def __getattr__(self, name: str) -> Any:
        """Say that there is no such switch."""
        raise AttributeError(f"no switch {name!r}; there are {', '.join(self.__dict__)}")

    def __repr__(self) -> str:
        """Name those that are on."""
        return f"Switches({', '.join(name for name, on in self.__dict__.items() if on) or 'none'})"


def _column(table: str, key: str, column: str, prefix: str = "") -> dict[str, bool]:
    return {prefix + row[key]: row[column] == "1" for row in rows(table)}


_CPUS = ("family15h", "zen1", "zen2", "zen3", "zen4", "emulated")
#: CPU -> its features.  "emulated" is QEMU's EPYC and Bochs' ryzen as the emulators run them here.
CPUS = MappingProxyType({name: Switches(**_column("features", "feature", name)) for name in _CPUS})
#: Profile -> its options; vmrun_checks_NAME is one for each check of data/vmrun_checks.csv.
PROFILES = MappingProxyType(
    {
        name: Switches(
            **_column("options", "option", name), **_column("vmrun_checks", "check", name, "vmrun_checks_")
        )
        for name in ("documented", "qemu72", "bochs27")
    }
)


@cache
def cpu(name: str = "zen3") -> Switches:
    """Return the features of a CPU; KeyError lists those there are."""
    if name not in CPUS:
        raise KeyError(f"no CPU {name!r}; there are {', '.join(CPUS)}")
    return CPUS[name]


@cache
def profile(name: str = "documented") -> Switches:
    """Return the options of a profile; KeyError lists those there are."""
    if name not in PROFILES:
        raise KeyError(f"no profile {name!r}; there are {', '.join(PROFILES)}")
    return PROFILES[name]
