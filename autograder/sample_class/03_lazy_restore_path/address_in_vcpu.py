"""
what = "Right: the page's address waits in a field of the vCPU until it is put."
"""


# %% exercise="put"
def prepare_switch_to_guest(cpu, vcpu):
    if not vcpu.guest_state_loaded:
        vcpu.host_page = per_cpu(cpu, vcpu.cpu, "save_area_pa")
        cpu.vmsave(vcpu.host_page)
        vcpu.host_tsc_aux = cpu.rdmsr(MSR.TSC_AUX)
        vcpu.guest_state_loaded = True


def prepare_host_switch(cpu, vcpu):
    cpu.wrmsr(MSR.TSC_AUX, vcpu.host_tsc_aux)
    cpu.vmload(vcpu.host_page)
    vcpu.guest_state_loaded = False


# %% exercise="cheaper"
cheaper = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
