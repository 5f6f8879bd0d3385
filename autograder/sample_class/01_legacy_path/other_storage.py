"""
what = '''
Right: each value under its MSR in a dict, written back in the opposite order. The bonus is earned without
looking for it.'''

[expect]
bonus_cheaper = 2
"""


# %% exercise="host_msrs"
def save_host_msrs(cpu, vcpu):
    values = {}
    for msr in HOST_SAVE_USER_MSRS:
        values[msr] = cpu.rdmsr(msr)
    vcpu.user_msrs = values


def restore_host_msrs(cpu, vcpu):
    values = vcpu.user_msrs
    for msr in reversed(HOST_SAVE_USER_MSRS):
        cpu.wrmsr(msr, values[msr])


# %% exercise="prepare_host_switch"
def prepare_host_switch(cpu, vcpu):
    cpu.lldt(vcpu.host_ldt)
    cpu.mov_to_sreg("FS", vcpu.host_fs)
    load_gs_index(cpu, vcpu.host_gs)
    restore_host_msrs(cpu, vcpu)


# %% exercise="cheaper"
cheaper = check.path(
    vcpu_load=vcpu_load, vcpu_enter_exit=vcpu_enter_exit, prepare_host_switch=prepare_host_switch
)
