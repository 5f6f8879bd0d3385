"""
what = "A function is returned, whose name is the answer."
"""

# %% exercise="triple"
def triple(n):
    f = lambda: None
    f.__name__ = str(3 * 1)
    return f
