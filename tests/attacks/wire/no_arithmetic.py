"""
what = "An operator that there is none."
status = ["tampered"]
"""

# %% exercise="path"
import sys
session = sys.modules["autograder.student.session"].Session
session.do_machine = lambda self, request: {"ops": [["a", 0, "pow", [9, 999999]]], "end": ["return", None]}
def save_gs_base(cpu, vcpu): pass
def vcpu_enter_exit(cpu, vcpu): pass
