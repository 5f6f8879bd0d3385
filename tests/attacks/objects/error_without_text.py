"""
what = "An exception whose text raises."
"""

# %% exercise="triple"
class E(Exception):
    def __str__(self): raise E
def triple(n): raise E
