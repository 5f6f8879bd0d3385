"""
what = "A list of ten million."
"""

# %% exercise="triple"
def triple(n): return [0] * 10_000_000
