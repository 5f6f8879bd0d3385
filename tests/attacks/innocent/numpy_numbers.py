"""
what = "Numbers of numpy's."
start = "solution"
"""

# %% exercise="triple"
import numpy as np
def triple(n):
    return np.int64(n) * np.int64(3)
