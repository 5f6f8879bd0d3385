"""
what = "A function that sleeps."
"""

# %% exercise="triple"
import time
def triple(n):
    time.sleep(300)
    return 3 * n
