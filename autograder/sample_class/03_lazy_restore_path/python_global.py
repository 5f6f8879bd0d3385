"""
what = "The GS base is kept in a Python list, filled on the first exit. check is to name it."

[expect]
test_gs_base = 0
test_nmi = 0
test_put = 0
test_migration = 0
test_budget = 0
"""

# %% exercise="vcpu_enter_exit"
bases = []


def vcpu_enter_exit(cpu, vcpu):
    if not bases:
        bases.extend(cpu_kernelmode_gs_base(cpu, n) for n in range(4))
    svm_vcpu_run(cpu, vcpu)
    if static_cpu_has(vcpu, "FSGSBASE"):
        cpu.wrgsbase(bases[vcpu.cpu])
    else:
        cpu.wrmsr(MSR.GS_BASE, bases[vcpu.cpu])
    reload_tss(cpu, vcpu)


# %% exercise="cheaper"
cheaper = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
