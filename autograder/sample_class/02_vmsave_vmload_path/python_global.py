"""
what = "TSC_AUX waits in a Python variable: the kernel has one for all CPUs. The checks are to name it."

[expect]
test_save = 0
test_window = 0
test_put = 0
test_migration = 0
test_budget = 0
"""

# %% exercise="prepare_switch_to_guest"
host_tsc_aux = None


def prepare_switch_to_guest(cpu, vcpu):
    global host_tsc_aux
    if vcpu.guest_state_loaded:
        return
    cpu.vmsave(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
    host_tsc_aux = cpu.rdmsr(MSR.TSC_AUX)
    vcpu.guest_state_loaded = True


# %% exercise="prepare_host_switch"
def prepare_host_switch(cpu, vcpu):
    cpu.wrmsr(MSR.TSC_AUX, host_tsc_aux)
    vcpu.guest_state_loaded = False


# %% exercise="cheaper"
cheaper = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
