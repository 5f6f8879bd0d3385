"""
what = '''
The flag is cleared at every entry instead, so that the guest is saved as the host. test_mend_1 is to
catch it.'''

[expect]
test_mend_1 = 0
bonus_kill_6 = 2
"""


# %% exercise="mend_1"
def mended_1(cpu, vcpu):
    cpu.wrmsr(MSR.TSC_AUX, 0)
    vcpu.guest_state_loaded = False
