"""
what = "Instructions that are no list."
status = ["tampered"]
"""

# %% exercise="path"
import sys
session = sys.modules["autograder.student.session"].Session
session.do_machine = lambda self, request: {"ops": "rdmsr", "end": ["return", None]}
def save_gs_base(cpu, vcpu): pass
def vcpu_enter_exit(cpu, vcpu): pass
