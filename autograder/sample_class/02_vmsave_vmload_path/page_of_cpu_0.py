"""
what = "The host is always saved in CPU 0's page. test_save is to catch it."

[expect]
test_save = 0
test_window = 0
test_put = 0
test_migration = 0
test_budget = 0
"""


# %% exercise="prepare_switch_to_guest"
def prepare_switch_to_guest(cpu, vcpu):
    if vcpu.guest_state_loaded:
        return
    cpu.vmsave(per_cpu(cpu, 0, "save_area_pa"))
    vcpu.host_tsc_aux = cpu.rdmsr(MSR.TSC_AUX)
    vcpu.guest_state_loaded = True


# %% exercise="cheaper"
cheaper = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
