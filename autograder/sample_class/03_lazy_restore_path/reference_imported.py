"""
what = "The reference path is imported and passed on. check.path is to refuse it."

[expect]
every = 0
"""

# %% exercise="vcpu_enter_exit"
from svmlib.paths.lazy import vcpu_enter_exit

# %% exercise="put"
from svmlib.paths.lazy import prepare_host_switch, prepare_switch_to_guest


# %% exercise="cheaper"
cheaper = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
