"""
what = "Right: TSC_AUX is the CPU's number and nobody reads it, which earns the bonus at once."

[expect]
bonus_cheaper = 2
"""


# %% exercise="put"
def prepare_switch_to_guest(cpu, vcpu):
    if not vcpu.guest_state_loaded:
        cpu.vmsave(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
        vcpu.guest_state_loaded = True


def prepare_host_switch(cpu, vcpu):
    cpu.vmload(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
    cpu.wrmsr(MSR.TSC_AUX, vcpu.cpu)
    vcpu.guest_state_loaded = False


# %% exercise="cheaper"
cheaper = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
