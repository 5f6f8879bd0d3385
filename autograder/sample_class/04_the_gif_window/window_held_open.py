"""
what = '''
Path B mended otherwise: GIF is cleared while load_gs_index runs, so that nothing arrives there.'''

[expect]
bonus_shortest = 2
"""


# %% exercise="mend_b"
def mended_b_put(cpu, vcpu):
    cpu.lldt(vcpu.host_ldt)
    cpu.mov_to_sreg("FS", vcpu.host_fs)
    cpu.clgi()
    load_gs_index(cpu, vcpu.host_gs)
    cpu.stgi()
    for msr, value in zip(MSRS, vcpu.host_user_msrs, strict=True):
        cpu.wrmsr(msr, value)
