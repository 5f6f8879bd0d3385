"""
what = "A regular expression that takes for ever in C."
status = ["failed", "graded"]
"""

# %% exercise="triple"
import re
def triple(n): return re.match("(a*)*b", "a" * 200)
