"""
what = "A mutable default."
"""

# %% exercise="path"
import sys
sys.modules["svmlib.watch"].remembered = lambda *f: {}
def cell(v=None, held=[0]):
    if v is not None: held[0] = v
    return held[0]
def save_gs_base(cpu, vcpu):
    cell(int(cpu.rdmsr(MSR.GS_BASE)))
def vcpu_enter_exit(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    cpu.wrmsr(MSR.GS_BASE, cell())
    reload_tss(cpu, vcpu)
