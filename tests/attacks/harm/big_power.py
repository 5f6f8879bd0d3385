"""
what = "A number that takes for ever in C."
status = ["failed", "graded"]
"""

# %% exercise="triple"
def triple(n): return len(str(7 ** (10 ** 9)))
