"""
what = '''
Right: another order that works, GS before FS, and the write to KERNEL_GS_BASE where it is lost at once.'''
"""


# %% exercise="prepare_host_switch"
def prepare_host_switch(cpu, vcpu):
    cpu.wrmsr(MSR.KERNEL_GS_BASE, thread_gs_base(cpu))
    cpu.lldt(vcpu.host_ldt)
    load_gs_index(cpu, vcpu.host_gs)
    cpu.mov_to_sreg("FS", vcpu.host_fs)
    restore_host_msrs(cpu, vcpu)


# %% exercise="cheaper"
cheaper = check.path(
    vcpu_load=vcpu_load, vcpu_enter_exit=vcpu_enter_exit, prepare_host_switch=prepare_host_switch
)
