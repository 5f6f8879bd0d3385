"""
what = "A global, as the checks know it."
"""

# %% exercise="path"
base = 0
def save_gs_base(cpu, vcpu):
    global base; base = cpu.rdmsr(MSR.GS_BASE)
def vcpu_enter_exit(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    cpu.wrmsr(MSR.GS_BASE, base)
    reload_tss(cpu, vcpu)
