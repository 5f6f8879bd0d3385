"""
what = '''
KernelGSBase is written after load_gs_index and not before: the window was open by then. test_mend_b is to
catch it.'''

[expect]
test_mend_b = 0
bonus_shortest = 2
"""


# %% exercise="mend_b"
def mended_b_put(cpu, vcpu):
    cpu.lldt(vcpu.host_ldt)
    cpu.mov_to_sreg("FS", vcpu.host_fs)
    load_gs_index(cpu, vcpu.host_gs)
    cpu.wrmsr(MSR.KERNEL_GS_BASE, vcpu.host_user_msrs[MSRS.index(MSR.KERNEL_GS_BASE)])
    for msr, value in zip(MSRS, vcpu.host_user_msrs, strict=True):
        cpu.wrmsr(msr, value)
