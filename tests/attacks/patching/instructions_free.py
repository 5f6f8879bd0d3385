"""
what = "Every instruction of Cpu does nothing."
"""

# %% exercise="path"
from svmlib.instructions import Cpu
for name in list(vars(Cpu)):
    if not name.startswith("_"):
        setattr(Cpu, name, lambda *a, **k: 0)
def save_gs_base(cpu, vcpu): pass
def vcpu_enter_exit(cpu, vcpu): svm_vcpu_run(cpu, vcpu)
