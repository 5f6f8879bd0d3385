"""
what = '''
The addresses of the two pages that the visible checks show, as a table. The hidden checks are to catch
it.'''

[expect]
test_window = 0
test_put = 0
test_migration = 0
test_budget = 0
"""

# %% exercise="vcpu_enter_exit"
PAGES_SEEN = {0: 0x1F20_A000, 1: 0x1F30_A000}


def vcpu_enter_exit(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    cpu.vmload(PAGES_SEEN[vcpu.cpu])
    reload_tss(cpu, vcpu)


# %% exercise="cheaper"
cheaper = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
