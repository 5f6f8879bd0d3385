"""
what = "Nothing is written, and the test cells are replaced by cells that pass."
start = "release"
remark = "test_put was changed: restored"

[expect]
every = 0
"""

# %% test="put"
pass

# %% test="budget"
print("ok")

# %% bonus="cheaper"
2
