"""
what = '''
The MSRs wait in a Python dict, apart for each CPU: right by luck of the model, and no storage. check is
to name it.'''

[expect]
test_host_msrs = 0
test_put = 0
test_migration = 0
test_budget = 0
"""

# %% exercise="host_msrs"
saved = {}


def save_host_msrs(cpu, vcpu):
    saved[vcpu.cpu] = [cpu.rdmsr(msr) for msr in HOST_SAVE_USER_MSRS]


def restore_host_msrs(cpu, vcpu):
    for msr, value in zip(HOST_SAVE_USER_MSRS, saved[vcpu.cpu], strict=True):
        cpu.wrmsr(msr, value)


# %% exercise="cheaper"
cheaper = check.path(
    vcpu_load=vcpu_load, vcpu_enter_exit=vcpu_enter_exit, prepare_host_switch=prepare_host_switch
)
