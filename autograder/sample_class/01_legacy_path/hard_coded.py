"""
what = '''
CPU 0's GS base as a constant: every visible check up to the migration passes. The hidden ones are to
catch it.'''

[expect]
test_gs_base = 0
test_nmi = 0
test_put = 0
test_migration = 0
test_budget = 0
"""


# %% exercise="gs_base"
def save_gs_base(cpu, vcpu):
    pass


def vcpu_enter_exit(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    cpu.wrmsr(MSR.GS_BASE, GS_BASE_SEEN)
    reload_tss(cpu, vcpu)


GS_BASE_SEEN = 0xFFFF_8880_1F20_0000


# %% exercise="cheaper"
cheaper = check.path(
    vcpu_load=vcpu_load, vcpu_enter_exit=vcpu_enter_exit, prepare_host_switch=prepare_host_switch
)
