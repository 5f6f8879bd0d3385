"""
what = '''
The path of exercise 2: VMLOAD on every exit. Correct and cheap, but not lazy. test_gs_base is to catch
it.'''

[expect]
test_gs_base = 0
test_nmi = 0
test_put = 0
"""


# %% exercise="vcpu_enter_exit"
def vcpu_enter_exit(cpu, vcpu):
    if not vcpu.guest_state_loaded:
        cpu.vmsave(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
        vcpu.guest_state_loaded = True
    svm_vcpu_run(cpu, vcpu)
    cpu.vmload(per_cpu(cpu, vcpu.cpu, "save_area_pa"))


# %% exercise="put"
def prepare_switch_to_guest(cpu, vcpu):
    if not vcpu.guest_state_loaded:
        vcpu.host_tsc_aux = cpu.rdmsr(MSR.TSC_AUX)


def prepare_host_switch(cpu, vcpu):
    cpu.wrmsr(MSR.TSC_AUX, vcpu.host_tsc_aux)
    vcpu.guest_state_loaded = False


# %% exercise="cheaper"
cheaper = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
