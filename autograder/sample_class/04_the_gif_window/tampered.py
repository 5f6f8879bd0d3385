"""
what = "Nothing is written, and the test cells are replaced by cells that pass."
start = "release"
remark = "test_mend_a was changed: restored"

[expect]
every = 0
"""

# %% test="mend_a"
pass

# %% test="survives"
4
