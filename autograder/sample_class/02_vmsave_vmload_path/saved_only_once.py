"""
what = "The flag is never cleared, so the host is saved once for all. test_put is to catch it."

[expect]
test_put = 0
test_migration = 0
test_budget = 0
"""


# %% exercise="prepare_host_switch"
def prepare_host_switch(cpu, vcpu):
    cpu.wrmsr(MSR.TSC_AUX, vcpu.host_tsc_aux)


# %% exercise="cheaper"
cheaper = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
