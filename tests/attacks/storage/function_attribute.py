"""
what = "An attribute of a function of the library's."
"""

# %% exercise="path"
def save_gs_base(cpu, vcpu):
    reload_tss.base = int(cpu.rdmsr(MSR.GS_BASE))
def vcpu_enter_exit(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    cpu.wrmsr(MSR.GS_BASE, reload_tss.base)
    reload_tss(cpu, vcpu)
