"""
what = '''
Path B with interrupts off around load_gs_index: an NMI does not ask for IF. test_mend_b is to catch it.'''

[expect]
test_mend_b = 0
bonus_shortest = 2
"""


# %% exercise="mend_b"
def mended_b_put(cpu, vcpu):
    cpu.lldt(vcpu.host_ldt)
    cpu.mov_to_sreg("FS", vcpu.host_fs)
    cpu.cli()
    load_gs_index(cpu, vcpu.host_gs)
    for msr, value in zip(MSRS, vcpu.host_user_msrs, strict=True):
        cpu.wrmsr(msr, value)
    cpu.sti()
