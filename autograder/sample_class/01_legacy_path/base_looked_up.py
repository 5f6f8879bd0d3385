"""
what = "Right: the kernel's GS base is looked up for the CPU and never read from its MSR."

[expect]
bonus_cheaper = 2
"""

# %% exercise="gs_base"
from svmlib.kvm import cpu_kernelmode_gs_base


def save_gs_base(cpu, vcpu):
    pass


def vcpu_enter_exit(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    cpu.wrmsr(MSR.GS_BASE, cpu_kernelmode_gs_base(cpu, vcpu.cpu))
    reload_tss(cpu, vcpu)


# %% exercise="cheaper"
cheaper = check.path(
    vcpu_load=vcpu_load, vcpu_enter_exit=vcpu_enter_exit, prepare_host_switch=prepare_host_switch
)
