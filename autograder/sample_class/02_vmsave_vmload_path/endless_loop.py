"""
what = '''
An exit that waits for a flag which nobody sets: the model stops it, in a test that is lost at once.'''

[expect]
test_window = 0
test_put = 0
test_migration = 0
test_budget = 0
"""


# %% exercise="vcpu_enter_exit"
def vcpu_enter_exit(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    while vcpu.guest_state_loaded:
        cpu.vmload(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
    reload_tss(cpu, vcpu)


# %% exercise="cheaper"
cheaper = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
