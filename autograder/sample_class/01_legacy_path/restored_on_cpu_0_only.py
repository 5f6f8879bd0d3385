"""
what = "The MSRs come back on CPU 0 alone. test_host_msrs is to catch it, which changes CPUs."

[expect]
test_host_msrs = 0
test_put = 0
test_migration = 0
test_budget = 0
"""


# %% exercise="host_msrs"
def save_host_msrs(cpu, vcpu):
    vcpu.host_user_msrs = [cpu.rdmsr(msr) for msr in HOST_SAVE_USER_MSRS]


def restore_host_msrs(cpu, vcpu):
    if vcpu.cpu == 0:
        for msr, value in zip(HOST_SAVE_USER_MSRS, vcpu.host_user_msrs, strict=True):
            cpu.wrmsr(msr, value)


# %% exercise="cheaper"
cheaper = check.path(
    vcpu_load=vcpu_load, vcpu_enter_exit=vcpu_enter_exit, prepare_host_switch=prepare_host_switch
)
