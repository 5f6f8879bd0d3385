"""
what = "TR is forgotten: the NMI at STGI takes its stack from the guest's TSS. test_nmi is to catch it."

[expect]
test_nmi = 0
test_put = 0
test_migration = 0
test_budget = 0
"""


# %% exercise="gs_base"
def save_gs_base(cpu, vcpu):
    vcpu.host_gs_base = cpu.rdmsr(MSR.GS_BASE)


def vcpu_enter_exit(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    cpu.wrmsr(MSR.GS_BASE, vcpu.host_gs_base)


# %% exercise="cheaper"
cheaper = check.path(
    vcpu_load=vcpu_load, vcpu_enter_exit=vcpu_enter_exit, prepare_host_switch=prepare_host_switch
)
