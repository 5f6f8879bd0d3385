"""
what = "A text of a hundred million characters."
"""

# %% exercise="triple"
def triple(n): return 'x' * 100_000_000
