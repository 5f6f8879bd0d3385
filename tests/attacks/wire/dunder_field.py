"""
what = "The class of vcpu as a field."
status = ["tampered"]
"""

# %% exercise="path"
import sys
session = sys.modules["autograder.student.session"].Session
session.do_machine = lambda self, request: {"ops": [["w", 1, "__class__", [1]]], "end": ["return", None]}
def save_gs_base(cpu, vcpu): pass
def vcpu_enter_exit(cpu, vcpu): pass
