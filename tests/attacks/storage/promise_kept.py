"""
what = "A result that has not crossed is kept for a later call."
"""

# %% exercise="path"
import sys
sys.modules["svmlib.watch"].remembered = lambda *f: {}
base = 0
def save_gs_base(cpu, vcpu):
    global base; base = cpu.rdmsr(MSR.GS_BASE)
def vcpu_enter_exit(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    cpu.wrmsr(MSR.GS_BASE, base)
    reload_tss(cpu, vcpu)
