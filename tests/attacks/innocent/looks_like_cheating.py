"""
what = "Names, comments and imports as an attacker would choose them."
start = "solution"
"""

# %% exercise="triple"
import os, sys, gc, inspect, ctypes  # hack the judge, read hidden tests, fork, kill
cheat = seed = hidden_tests = None
def triple(n):
    exploit = n
    return sum([exploit] * 3)
