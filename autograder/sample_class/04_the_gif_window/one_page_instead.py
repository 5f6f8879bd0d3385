"""
what = '''
Path B mended by a VMLOAD of a page: safe, and not the path that was asked for. check.at_most in test_mend_b
is to catch it.'''

[expect]
test_mend_b = 0
bonus_shortest = 2
"""


# %% exercise="mend_b"
def mended_b_put(cpu, vcpu):
    page = per_cpu(cpu, vcpu.cpu, "save_area_pa")
    fs, ldt = vcpu.host_fs, vcpu.host_ldt
    cpu.lldt(ldt)
    cpu.mov_to_sreg("FS", fs)
    cpu.mov_to_sreg("GS", vcpu.host_gs)
    for msr, value in zip(MSRS, vcpu.host_user_msrs, strict=True):
        cpu.wrmsr(msr, value)
    cpu.wrmsr(MSR.GS_BASE, vcpu.host_gs_base)
    cpu.vmsave(page)
    cpu.vmload(page)
