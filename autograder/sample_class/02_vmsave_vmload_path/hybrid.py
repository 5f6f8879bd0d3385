"""
what = '''
Correct: the path as first posted, WRMSR on every exit and VMLOAD when the vCPU is put. Over budget, which
test_budget is to catch.'''

[expect]
test_budget = 0
"""

# %% exercise="vcpu_enter_exit"
from svmlib.kvm import cpu_kernelmode_gs_base


def vcpu_enter_exit(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    cpu.wrmsr(MSR.GS_BASE, cpu_kernelmode_gs_base(cpu, vcpu.cpu))
    reload_tss(cpu, vcpu)


# %% exercise="prepare_host_switch"
def prepare_host_switch(cpu, vcpu):
    cpu.vmload(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
    cpu.wrmsr(MSR.TSC_AUX, vcpu.host_tsc_aux)
    vcpu.guest_state_loaded = False


# %% exercise="cheaper"
cheaper = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
