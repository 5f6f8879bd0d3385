"""
what = "A generator without an end."
"""

# %% exercise="triple"
def triple(n):
    while True: yield 3 * n
