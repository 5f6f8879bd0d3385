"""
what = '''
Correct as a whole, but everything comes back on every exit: over budget, which test_budget is to catch.
The first steps lack what vcpu_load saves.'''

[expect]
test_gs_base = 0
test_nmi = 0
test_budget = 0
"""


# %% exercise="gs_base"
def save_gs_base(cpu, vcpu):
    vcpu.host_gs_base = cpu.rdmsr(MSR.GS_BASE)


def vcpu_enter_exit(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    cpu.wrmsr(MSR.GS_BASE, vcpu.host_gs_base)
    restore_host_msrs(cpu, vcpu)
    reload_tss(cpu, vcpu)


# %% exercise="cheaper"
cheaper = check.path(
    vcpu_load=vcpu_load, vcpu_enter_exit=vcpu_enter_exit, prepare_host_switch=prepare_host_switch
)
