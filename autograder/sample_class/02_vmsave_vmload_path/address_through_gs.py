"""
what = '''
The page's address is read through GS after the exit, when GS is the guest's. test_window is to catch it.'''

[expect]
test_window = 0
test_put = 0
test_migration = 0
test_budget = 0
"""


# %% exercise="vcpu_enter_exit"
def vcpu_enter_exit(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    cpu.vmload(this_cpu_read(cpu, "save_area_pa"))
    reload_tss(cpu, vcpu)


# %% exercise="cheaper"
cheaper = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
