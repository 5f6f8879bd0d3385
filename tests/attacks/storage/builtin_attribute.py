"""
what = "A name in builtins."
"""

# %% exercise="path"
def save_gs_base(cpu, vcpu):
    import builtins; builtins.base = int(cpu.rdmsr(MSR.GS_BASE))
def vcpu_enter_exit(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    cpu.wrmsr(MSR.GS_BASE, base)
    reload_tss(cpu, vcpu)
