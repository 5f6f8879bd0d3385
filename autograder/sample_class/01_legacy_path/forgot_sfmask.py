"""
what = '''
SFMASK is not on the list that is saved. test_host_msrs is to catch it, and all that needs the whole path.'''

[expect]
test_host_msrs = 0
test_put = 0
test_migration = 0
test_budget = 0
"""

# %% exercise="host_msrs"
SAVED = [msr for msr in HOST_SAVE_USER_MSRS if msr != MSR.SFMASK]


def save_host_msrs(cpu, vcpu):
    vcpu.host_user_msrs = [cpu.rdmsr(msr) for msr in SAVED]


def restore_host_msrs(cpu, vcpu):
    for msr, value in zip(SAVED, vcpu.host_user_msrs, strict=True):
        cpu.wrmsr(msr, value)


# %% exercise="cheaper"
cheaper = check.path(
    vcpu_load=vcpu_load, vcpu_enter_exit=vcpu_enter_exit, prepare_host_switch=prepare_host_switch
)
