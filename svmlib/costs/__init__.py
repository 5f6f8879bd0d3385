"""What a path costs: price lists, the bill of a trace, and which of two paths is cheaper for whom.

Reads traces and data only.  A plain bill needs nothing but the standard library; distributions are in
`chance`, which needs numpy, and the calibration is in `targets`.
"""

from .bills import PARTS, Bill, Line, bill
from .breakeven import BreakEven, break_even, difference
from .cache import Cache
from .exits import ExitCosts, exit_costs
from .lists import names, prices
from .mixes import Mix, MixError, by_reason, counted, mix, mixes
from .prices import LABELS, Price, PriceError, PriceList, Ticks
from .terms import Terms

__all__ = [
    "LABELS",
    "PARTS",
    "Bill",
    "BreakEven",
    "Cache",
    "ExitCosts",
    "Line",
    "Mix",
    "MixError",
    "Price",
    "PriceError",
    "PriceList",
    "Terms",
    "Ticks",
    "bill",
    "break_even",
    "by_reason",
    "counted",
    "difference",
    "exit_costs",
    "mix",
    "mixes",
    "names",
    "prices",
]
