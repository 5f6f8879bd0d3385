"""
what = "A generator that waits."
"""

# %% exercise="path"
import sys
sys.modules["svmlib.watch"].remembered = lambda *f: {}
def w():
    v = 0
    while True:
        s = yield v
        v = s if s is not None else v
g = w(); next(g)
def save_gs_base(cpu, vcpu):
    g.send(int(cpu.rdmsr(MSR.GS_BASE)))
def vcpu_enter_exit(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    cpu.wrmsr(MSR.GS_BASE, next(g))
    reload_tss(cpu, vcpu)
