"""What a path costs: price lists, the bill of a trace, and which of two paths is cheaper for whom.

Reads traces and data only; a plain bill needs nothing but the standard library.
"""

from .bills import PARTS, Bill, Line, bill
from .breakeven import BreakEven, break_even, difference
from .lists import names, prices
from .prices import LABELS, Price, PriceError, PriceList, Ticks

__all__ = [
    "LABELS",
    "PARTS",
    "Bill",
    "BreakEven",
    "Line",
    "Price",
    "PriceError",
    "PriceList",
    "Ticks",
    "bill",
    "break_even",
    "difference",
    "names",
    "prices",
]
