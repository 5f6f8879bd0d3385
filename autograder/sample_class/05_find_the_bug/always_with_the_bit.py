"""
what = "The C-bit is set always, also where the host has none. test_mend_2 is to catch it."

[expect]
test_mend_2 = 0
bonus_kill_6 = 2
"""


# %% exercise="mend_2"
def mended_2(cpu, vcpu):
    if not vcpu.guest_state_loaded:
        cpu.vmsave(per_cpu(cpu, vcpu.cpu, "save_area_pa") | C_BIT)
        vcpu.guest_state_loaded = True
