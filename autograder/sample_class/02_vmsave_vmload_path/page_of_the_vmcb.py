"""
what = "The host is saved in the guest's VMCB. test_save is to catch it."

[expect]
test_save = 0
test_window = 0
test_put = 0
test_migration = 0
test_budget = 0
"""


# %% exercise="prepare_switch_to_guest"
def prepare_switch_to_guest(cpu, vcpu):
    if vcpu.guest_state_loaded:
        return
    cpu.vmsave(vcpu.vmcb_pa)
    vcpu.host_tsc_aux = cpu.rdmsr(MSR.TSC_AUX)
    vcpu.guest_state_loaded = True


# %% exercise="vcpu_enter_exit"
def vcpu_enter_exit(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    cpu.vmload(vcpu.vmcb_pa)
    reload_tss(cpu, vcpu)


# %% exercise="cheaper"
cheaper = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
