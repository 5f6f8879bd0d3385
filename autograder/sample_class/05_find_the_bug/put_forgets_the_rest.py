"""
what = "The flag is there, TSC_AUX is not. test_mend_1 is to catch it."

[expect]
test_mend_1 = 0
bonus_kill_6 = 2
"""


# %% exercise="mend_1"
def mended_1(cpu, vcpu):
    vcpu.guest_state_loaded = False
