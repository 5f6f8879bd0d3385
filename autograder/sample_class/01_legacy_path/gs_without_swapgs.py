"""
what = "GS is loaded without SWAPGS around it: the kernel's own base is gone. test_put is to catch it."

[expect]
test_put = 0
test_migration = 0
test_budget = 0
"""


# %% exercise="prepare_host_switch"
def prepare_host_switch(cpu, vcpu):
    cpu.lldt(vcpu.host_ldt)
    cpu.mov_to_sreg("FS", vcpu.host_fs)
    cpu.mov_to_sreg("GS", vcpu.host_gs)
    restore_host_msrs(cpu, vcpu)


# %% exercise="cheaper"
cheaper = check.path(
    vcpu_load=vcpu_load, vcpu_enter_exit=vcpu_enter_exit, prepare_host_switch=prepare_host_switch
)
