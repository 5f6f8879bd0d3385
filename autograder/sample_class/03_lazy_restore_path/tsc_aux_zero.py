"""
what = '''
TSC_AUX becomes 0, as it is on CPU 0, where the visible check of the third step runs. The hidden one is to
catch it.'''

[expect]
test_put = 0
test_migration = 0
test_budget = 0
"""


# %% exercise="put"
def prepare_switch_to_guest(cpu, vcpu):
    if vcpu.guest_state_loaded:
        return
    cpu.vmsave(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
    vcpu.host_tsc_aux = cpu.rdmsr(MSR.TSC_AUX)
    vcpu.guest_state_loaded = True


def prepare_host_switch(cpu, vcpu):
    cpu.vmload(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
    cpu.wrmsr(MSR.TSC_AUX, 0)
    vcpu.guest_state_loaded = False


# %% exercise="cheaper"
cheaper = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
