"""
what = '''
Correct, but FS and the bases are written once more after VMLOAD: over budget. test_budget is to catch it.'''

[expect]
test_budget = 0
"""


# %% exercise="put"
def prepare_switch_to_guest(cpu, vcpu):
    if vcpu.guest_state_loaded:
        return
    cpu.vmsave(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
    vcpu.host_tsc_aux = cpu.rdmsr(MSR.TSC_AUX)
    vcpu.host_bases = [cpu.rdmsr(MSR.FS_BASE), cpu.rdmsr(MSR.KERNEL_GS_BASE)]
    vcpu.guest_state_loaded = True


def prepare_host_switch(cpu, vcpu):
    cpu.vmload(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
    cpu.wrmsr(MSR.TSC_AUX, vcpu.host_tsc_aux)
    fs_base, gs_base = vcpu.host_bases
    cpu.wrmsr(MSR.FS_BASE, fs_base)
    cpu.wrmsr(MSR.KERNEL_GS_BASE, gs_base)
    vcpu.guest_state_loaded = False


# %% exercise="cheaper"
cheaper = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
