"""
what = "An attribute of cpu."
"""

# %% exercise="path"
def save_gs_base(cpu, vcpu):
    cpu.base = int(cpu.rdmsr(MSR.GS_BASE))
def vcpu_enter_exit(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    cpu.wrmsr(MSR.GS_BASE, cpu.base)
    reload_tss(cpu, vcpu)
