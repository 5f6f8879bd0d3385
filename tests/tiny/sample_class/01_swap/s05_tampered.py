"""
what = "The test cells are replaced by cells that pass."
start = "release"
expect.every = 0
remark = "test_swap was changed: restored"
"""

# %% test="swap"
pass

# %% bonus="arguments"
1
