"""
what = "The reference path is imported and passed on. The checks are to refuse it."

[expect]
every = 0
"""

# %% exercise="prepare_switch_to_guest"
from svmlib.paths.vmload_before_stgi import prepare_switch_to_guest

# %% exercise="vcpu_enter_exit"
from svmlib.paths.vmload_before_stgi import vcpu_enter_exit

# %% exercise="prepare_host_switch"
from svmlib.paths.vmload_before_stgi import prepare_host_switch


# %% exercise="cheaper"
cheaper = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
