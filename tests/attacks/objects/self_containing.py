"""
what = "A list that holds itself."
"""

# %% exercise="triple"
def triple(n):
    l = []; l.append(l); return l
