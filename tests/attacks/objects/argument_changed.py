"""
what = "The argument is changed instead of the result."
"""

# %% exercise="triple"
def triple(n):
    n *= 3
