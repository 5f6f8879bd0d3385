"""
what = '''
The GS bases of the two CPUs that the visible checks show, as a table. The hidden checks are to catch it.'''

[expect]
test_gs_base = 0
test_nmi = 0
test_put = 0
test_migration = 0
test_budget = 0
"""

# %% exercise="vcpu_enter_exit"
BASES_SEEN = {0: 0xFFFF_8880_1F20_0000, 1: 0xFFFF_8880_1F30_0000}


def vcpu_enter_exit(cpu, vcpu):
    gs_base = BASES_SEEN[vcpu.cpu]
    svm_vcpu_run(cpu, vcpu)
    if static_cpu_has(vcpu, "FSGSBASE"):
        cpu.wrgsbase(gs_base)
    else:
        cpu.wrmsr(MSR.GS_BASE, gs_base)
    reload_tss(cpu, vcpu)


# %% exercise="cheaper"
cheaper = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
