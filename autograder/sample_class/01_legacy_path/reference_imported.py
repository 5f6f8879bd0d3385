"""
what = "The reference path is imported and passed on. check.path is to refuse it, in every test of a path."

[expect]
test_gs_base = 0
test_nmi = 0
test_put = 0
test_migration = 0
test_budget = 0
"""

# %% exercise="gs_base"
from svmlib.paths.legacy import vcpu_enter_exit


def save_gs_base(cpu, vcpu):
    vcpu.host_gs_base = cpu.rdmsr(MSR.GS_BASE)


# %% exercise="vcpu_load"
from svmlib.paths.legacy import vcpu_load

# %% exercise="prepare_host_switch"
from svmlib.paths.legacy import prepare_host_switch


# %% exercise="cheaper"
cheaper = check.path(
    vcpu_load=vcpu_load, vcpu_enter_exit=vcpu_enter_exit, prepare_host_switch=prepare_host_switch
)
