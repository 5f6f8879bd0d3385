"""
what = "Nothing is written, and the test cells are replaced by cells that pass."
start = "release"
remark = "test_mend_1 was changed: restored"

[expect]
every = 0
"""

# %% test="mend_1"
pass

# %% bonus="kill_6"
2
