"""
what = "The LDT comes after the selectors that point into it. test_put is to catch it."

[expect]
test_put = 0
test_migration = 0
test_budget = 0
"""


# %% exercise="prepare_host_switch"
def prepare_host_switch(cpu, vcpu):
    cpu.mov_to_sreg("FS", vcpu.host_fs)
    load_gs_index(cpu, vcpu.host_gs)
    cpu.lldt(vcpu.host_ldt)
    restore_host_msrs(cpu, vcpu)


# %% exercise="cheaper"
cheaper = check.path(
    vcpu_load=vcpu_load, vcpu_enter_exit=vcpu_enter_exit, prepare_host_switch=prepare_host_switch
)
