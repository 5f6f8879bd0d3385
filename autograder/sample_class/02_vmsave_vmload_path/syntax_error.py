"""
what = "A cell that is no Python: its test is lost, and what needs it."

[expect]
test_window = 0
test_put = 0
test_migration = 0
test_budget = 0
"""

# %% exercise="vcpu_enter_exit"
raise SyntaxError("stands for a cell that does not parse, which this file could not hold")


# %% exercise="cheaper"
cheaper = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
