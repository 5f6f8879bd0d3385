"""
what = "An attribute of a module."
"""

# %% exercise="path"
def save_gs_base(cpu, vcpu):
    import svmlib; svmlib.base = int(cpu.rdmsr(MSR.GS_BASE))
def vcpu_enter_exit(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    cpu.wrmsr(MSR.GS_BASE, __import__('svmlib').base)
    reload_tss(cpu, vcpu)
