"""Prices from your own silicon: python -m svmlib calibrate.

cli        the command
listing    a report as a price list
text       a report as a table and as plain data
report     what the programs print, read back
building   the programs, compiled on the spot with the tools of the distribution
measure.h  how anything is measured and printed
user.c     what user mode can measure
image.c    what only ring 0 can: a UEFI application, never yet run on silicon
"""

from .building import CalibrationError
from .cli import command, measure
from .listing import as_csv
from .report import Measured, Report, parse

__all__ = ["CalibrationError", "Measured", "Report", "as_csv", "command", "measure", "parse"]
