"""
what = "sys.modules holds another svmlib.check."
"""

# %% exercise="path"
import sys, types
fake = types.ModuleType("svmlib.check")
fake.__getattr__ = lambda name: lambda *a, **k: None
sys.modules["svmlib.check"] = fake
import svmlib
svmlib.check = check = fake
def save_gs_base(cpu, vcpu): pass
def vcpu_enter_exit(cpu, vcpu): pass
