"""
what = "The path catches the fault itself, as an entry in the exception table would: right, too."

[expect]
bonus_kill_6 = 2
"""

# %% exercise="mend_3"
from contextlib import suppress


def mended_3_save(cpu, vcpu):
    if not vcpu.guest_state_loaded:
        with suppress(Exception):
            cpu.vmsave(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
        vcpu.guest_state_loaded = True


def mended_3_enter_exit(cpu, vcpu):
    enter_exit(cpu, vcpu)
