"""
what = "Half a second of thought."
start = "solution"
"""

# %% exercise="triple"
import time
time.sleep(0.5)
def triple(n):
    time.sleep(0.01)
    return 3 * n
