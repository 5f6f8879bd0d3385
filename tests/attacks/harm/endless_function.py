"""
what = "A function without end."
"""

# %% exercise="triple"
def triple(n):
    while True: pass
