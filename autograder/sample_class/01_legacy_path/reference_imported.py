"""
what = "The reference path, imported or inside functions of another name. check.path is to refuse it."

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
def vcpu_load(cpu, vcpu):
    import svmlib.paths.legacy as saver

    saver.vcpu_load(cpu, vcpu)


# %% exercise="prepare_host_switch"
from svmlib.paths import PATHS


def prepare_host_switch(cpu, vcpu):
    PATHS["legacy"].prepare_host_switch(cpu, vcpu)


# %% exercise="cheaper"
cheaper = check.path(
    vcpu_load=vcpu_load, vcpu_enter_exit=vcpu_enter_exit, prepare_host_switch=prepare_host_switch
)
