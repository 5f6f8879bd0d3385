"""
what = "A cell with an error that is caught, and one with warnings switched off."
start = "solution"
"""

# %% exercise="triple"
import warnings
try: 1 / 0
except ZeroDivisionError: pass
with warnings.catch_warnings():
    warnings.simplefilter("ignore"); warnings.warn("x")
def triple(n): return 3 * n
