"""
what = '''
Correct, but the base is read before each run: an RDMSR too many where there is no RDGSBASE. test_budget
is to catch it.'''

[expect]
test_budget = 0
"""


# %% exercise="vcpu_enter_exit"
def vcpu_enter_exit(cpu, vcpu):
    if static_cpu_has(vcpu, "FSGSBASE"):
        gs_base = cpu.rdgsbase()
        svm_vcpu_run(cpu, vcpu)
        cpu.wrgsbase(gs_base)
    else:
        gs_base = cpu.rdmsr(MSR.GS_BASE)
        svm_vcpu_run(cpu, vcpu)
        cpu.wrmsr(MSR.GS_BASE, gs_base)
    reload_tss(cpu, vcpu)


# %% exercise="cheaper"
cheaper = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
