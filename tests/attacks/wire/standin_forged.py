"""
what = "It hands over objects with made up properties."
"""

# %% exercise="triple"
import sys
session = sys.modules["autograder.student.session"].Session
session.do_bind = lambda self, request: {"values": [["x", "o", "triple", True, "triple"]] * len(request["names"])}
session.do_call = lambda self, request: {"return": ["x", "o", "triple", True, "x"], "changed": {"0": ["l"], "-1": 1, "a": 2}}
