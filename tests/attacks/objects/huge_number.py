"""
what = "A number of a million digits."
"""

# %% exercise="triple"
def triple(n): return 10**1_000_000
