"""
what = "As KVM had it: the solution, without the search for the instruction that does nothing."
"""

# %% exercise="cheaper"
cheaper = check.path(
    vcpu_load=vcpu_load, vcpu_enter_exit=vcpu_enter_exit, prepare_host_switch=prepare_host_switch
)
