"""
what = "A cell that never ends: it is stopped, its functions are missing, the rest is graded."

[expect]
test_host_msrs = 0
test_put = 0
test_migration = 0
test_budget = 0
"""

# %% exercise="host_msrs"
while True:
    pass


# %% exercise="cheaper"
cheaper = check.path(
    vcpu_load=vcpu_load, vcpu_enter_exit=vcpu_enter_exit, prepare_host_switch=prepare_host_switch
)
