"""
what = "Correct, but VMSAVE runs before every entry. test_save and test_budget are to catch it."

[expect]
test_save = 0
test_budget = 0
"""


# %% exercise="prepare_switch_to_guest"
def prepare_switch_to_guest(cpu, vcpu):
    cpu.vmsave(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
    if not vcpu.guest_state_loaded:
        vcpu.host_tsc_aux = cpu.rdmsr(MSR.TSC_AUX)
        vcpu.guest_state_loaded = True


# %% exercise="cheaper"
cheaper = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
