"""
what = "Checks of its own, in its own cell."
start = "solution"
"""

# %% exercise="path"
def save_gs_base(cpu, vcpu):
    vcpu.host_gs_base = cpu.rdmsr(MSR.GS_BASE)
def vcpu_enter_exit(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    cpu.wrmsr(MSR.GS_BASE, vcpu.host_gs_base)
    reload_tss(cpu, vcpu)
check.survives(check.path(vcpu_load=save_gs_base, vcpu_enter_exit=vcpu_enter_exit), "kernel", "kernel")
