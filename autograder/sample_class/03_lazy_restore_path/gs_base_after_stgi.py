"""
what = '''
The GS base comes back with VMLOAD when the vCPU is put, on the wrong side of STGI. test_gs_base is to
catch it.'''

[expect]
test_gs_base = 0
test_nmi = 0
test_put = 0
test_migration = 0
test_budget = 0
"""


# %% exercise="vcpu_enter_exit"
def vcpu_enter_exit(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    reload_tss(cpu, vcpu)


# %% exercise="cheaper"
cheaper = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
