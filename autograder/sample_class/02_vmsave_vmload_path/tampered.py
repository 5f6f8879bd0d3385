"""
what = "Nothing is written, and the test cells are replaced by cells that pass."
start = "release"
remark = "test_window was changed: restored"

[expect]
every = 0
"""

# %% test="window"
pass

# %% bonus="cheaper"
2
