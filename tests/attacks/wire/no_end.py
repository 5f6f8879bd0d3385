"""
what = "A call without an end."
status = ["tampered"]
"""

# %% exercise="path"
import sys
session = sys.modules["autograder.student.session"].Session
session.do_machine = lambda self, request: {"ops": [], "end": ["never"]}
def save_gs_base(cpu, vcpu): pass
def vcpu_enter_exit(cpu, vcpu): pass
