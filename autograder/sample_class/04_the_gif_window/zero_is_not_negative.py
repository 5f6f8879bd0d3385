"""
what = "Path B mended with any base that is not negative: what is written is overwritten anyway."

[expect]
bonus_shortest = 2
"""


# %% exercise="mend_b"
def mended_b_put(cpu, vcpu):
    cpu.lldt(vcpu.host_ldt)
    cpu.wrmsr(MSR.KERNEL_GS_BASE, 0)
    cpu.mov_to_sreg("FS", vcpu.host_fs)
    load_gs_index(cpu, vcpu.host_gs)
    for msr, value in zip(MSRS, vcpu.host_user_msrs, strict=True):
        cpu.wrmsr(msr, value)
