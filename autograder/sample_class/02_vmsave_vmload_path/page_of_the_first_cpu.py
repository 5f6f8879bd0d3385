"""
what = '''
The page's address is remembered for ever: right until two vCPUs share the page after a migration.
test_migration is to catch it.'''

[expect]
test_migration = 0
test_budget = 0
"""


# %% exercise="prepare_switch_to_guest"
def prepare_switch_to_guest(cpu, vcpu):
    if vcpu.guest_state_loaded:
        return
    if getattr(vcpu, "host_page", None) is None:
        vcpu.host_page = this_cpu_read(cpu, "save_area_pa")
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
