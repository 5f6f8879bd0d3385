"""
what = "Half a character, in the result and in an error."
"""

# %% exercise="triple"
def triple(n): raise ValueError("\ud800" * 5)
