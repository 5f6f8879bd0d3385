"""
what = '''
A wait for TR to hold the right selector, which every guest may delay for ever: the model stops it.'''

[expect]
test_gs_base = 0
test_nmi = 0
test_put = 0
test_migration = 0
test_budget = 0
"""


# %% exercise="vcpu_enter_exit"
def vcpu_enter_exit(cpu, vcpu):
    gs_base = cpu_kernelmode_gs_base(cpu, vcpu.cpu)
    svm_vcpu_run(cpu, vcpu)
    while cpu.str() != 0x40:
        cpu.wrmsr(MSR.GS_BASE, gs_base)
    reload_tss(cpu, vcpu)


# %% exercise="cheaper"
cheaper = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
