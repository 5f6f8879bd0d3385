"""
what = "Nothing is written, and the test cells are replaced by cells that pass."
start = "release"
remark = "test_total was changed: restored"

[expect]
every = 0
"""

# %% test="total"
pass

# %% test="decide"
pass

# %% bonus="limit"
2
