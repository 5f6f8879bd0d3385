"""
what = "A reference inside a dict's key."
status = ["graded", "tampered"]
"""

# %% exercise="path"
import sys
session = sys.modules["autograder.student.session"].Session
session.do_machine = lambda self, request: {"ops": [["w", 1, "x", [["d", ["x", "p", 0, []], 1]]]], "end": ["return", None]}
def save_gs_base(cpu, vcpu): pass
def vcpu_enter_exit(cpu, vcpu): pass
