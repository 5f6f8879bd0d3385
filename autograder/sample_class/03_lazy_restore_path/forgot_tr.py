"""
what = "TR is forgotten, as in the message that proposed the path. test_nmi is to catch it."

[expect]
test_nmi = 0
test_put = 0
test_migration = 0
test_budget = 0
"""


# %% exercise="vcpu_enter_exit"
def vcpu_enter_exit(cpu, vcpu):
    gs_base = cpu_kernelmode_gs_base(cpu, vcpu.cpu)
    svm_vcpu_run(cpu, vcpu)
    if static_cpu_has(vcpu, "FSGSBASE"):
        cpu.wrgsbase(gs_base)
    else:
        cpu.wrmsr(MSR.GS_BASE, gs_base)


# %% exercise="cheaper"
cheaper = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
