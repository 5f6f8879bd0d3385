"""
what = "Recursion without end, in C."
status = ["failed", "graded"]
"""

# %% exercise="triple"
import sys
sys.setrecursionlimit(10**9)
def f(): f()
f()
