"""
what = "Nothing is written, and the test cells are replaced by cells that pass."
start = "release"
remark = "test_nmi was changed: restored"

[expect]
every = 0
"""

# %% test="nmi"
pass

# %% test="migration"
pass

# %% bonus="cheaper"
2
