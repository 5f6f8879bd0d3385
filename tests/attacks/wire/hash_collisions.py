"""
what = "A set of numbers that all have the same hash: to make it takes minutes."
status = ["tampered"]
reason = "of the same hash"
"""

# %% exercise="triple"
import sys
session = sys.modules["autograder.student.session"].Session
colliding = ["s", *(k * (2**61 - 1) for k in range(90_000))]
session.do_call = lambda self, request: {"return": colliding}
def triple(n): return 0
