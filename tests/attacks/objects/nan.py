"""
what = "Not a number, which is unequal to itself."
"""

# %% exercise="triple"
def triple(n): return float('nan')
