"""
what = "Right: the page's address waits in a field of the vCPU."
"""


# %% exercise="prepare_switch_to_guest"
def prepare_switch_to_guest(cpu, vcpu):
    if not vcpu.guest_state_loaded:
        vcpu.host_page = per_cpu(cpu, vcpu.cpu, "save_area_pa")
        cpu.vmsave(vcpu.host_page)
        vcpu.host_tsc_aux = cpu.rdmsr(MSR.TSC_AUX)
        vcpu.guest_state_loaded = True


# %% exercise="vcpu_enter_exit"
def vcpu_enter_exit(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    cpu.vmload(vcpu.host_page)
    reload_tss(cpu, vcpu)


# %% exercise="cheaper"
cheaper = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
