"""
what = "The process ends when it is asked."
status = ["failed"]
reason = "in test_triple"
"""

# %% exercise="triple"
import os
def triple(n): os._exit(0)
