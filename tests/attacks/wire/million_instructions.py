"""
what = "A hundred thousand instructions in one call."
status = ["graded", "tampered"]
"""

# %% exercise="path"
import sys
session = sys.modules["autograder.student.session"].Session
session.do_machine = lambda self, request: {"ops": [["i", 0, "rdmsr", [0xC0000101]]] * 100_000, "end": ["return", None]}
def save_gs_base(cpu, vcpu): pass
def vcpu_enter_exit(cpu, vcpu): pass
