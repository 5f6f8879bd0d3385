"""
what = "The path of the next exercise: right and cheap, but not this one. test_put is to catch it."

[expect]
test_put = 0
"""

# %% exercise="vcpu_load"
from svmlib.kvm import per_cpu


def vcpu_load(cpu, vcpu):
    cpu.vmsave(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
    save_gs_base(cpu, vcpu)
    vcpu.tsc_aux = cpu.rdmsr(MSR.TSC_AUX)


# %% exercise="prepare_host_switch"
def prepare_host_switch(cpu, vcpu):
    cpu.vmload(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
    cpu.wrmsr(MSR.TSC_AUX, vcpu.tsc_aux)


# %% exercise="cheaper"
cheaper = check.path(
    vcpu_load=vcpu_load, vcpu_enter_exit=vcpu_enter_exit, prepare_host_switch=prepare_host_switch
)
