"""
what = '''
Correct, but with WRMSR on every host: over budget where FSGSBASE is in use. test_budget is to catch it.'''

[expect]
test_budget = 0
"""


# %% exercise="vcpu_enter_exit"
def vcpu_enter_exit(cpu, vcpu):
    gs_base = cpu_kernelmode_gs_base(cpu, vcpu.cpu)
    svm_vcpu_run(cpu, vcpu)
    cpu.wrmsr(MSR.GS_BASE, gs_base)
    reload_tss(cpu, vcpu)


# %% exercise="cheaper"
cheaper = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
