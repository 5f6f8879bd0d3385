"""
what = "An error of a hundred megabytes."
"""

# %% exercise="triple"
raise ValueError("x" * 100_000_000)
