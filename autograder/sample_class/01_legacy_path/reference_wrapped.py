"""
what = "The reference path inside functions of another name. check.path is to refuse it all the same."

[expect]
test_put = 0
test_migration = 0
test_budget = 0
"""


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
