"""
what = '''
KernelGSBase comes from the task structure at last: stale once the thread has moved its base by WRGSBASE.
test_put is to catch it.'''

[expect]
test_put = 0
test_migration = 0
test_budget = 0
"""


# %% exercise="prepare_host_switch"
def prepare_host_switch(cpu, vcpu):
    cpu.lldt(vcpu.host_ldt)
    cpu.mov_to_sreg("FS", vcpu.host_fs)
    load_gs_index(cpu, vcpu.host_gs)
    restore_host_msrs(cpu, vcpu)
    cpu.wrmsr(MSR.KERNEL_GS_BASE, thread_gs_base(cpu))


# %% exercise="cheaper"
cheaper = check.path(
    vcpu_load=vcpu_load, vcpu_enter_exit=vcpu_enter_exit, prepare_host_switch=prepare_host_switch
)
