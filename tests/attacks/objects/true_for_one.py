"""
what = "True for one: right for no number but a third."
"""

# %% exercise="triple"
def triple(n): return True
