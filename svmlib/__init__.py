"""A model of AMD SVM's host state: who puts the host's registers back after a #VMEXIT, when, at what cost.

State is a table (`registers`), an instruction is a function (`instructions`), a path is a few functions
(`paths`), the trace is what happened (`trace`), a bill is a price list applied to it (`costs`).
"""

__version__ = "0.1.0"
