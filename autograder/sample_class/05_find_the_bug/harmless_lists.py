"""
what = '''
Every list is the one that was given out, or another that nothing dies of. check.kills is to say so.'''

[expect]
test_kill_1 = 0
test_kill_2 = 0
test_kill_3 = 0
test_kill_4 = 0
test_kill_5 = 0
"""

# %% exercise="kill_1"
kill_1 = ["kernel", "kernel+nmi"]

# %% exercise="kill_2"
kill_2, sme_2 = ["kernel"], False

# %% exercise="kill_3"
kill_3 = ["user+nmi.1"]

# %% exercise="kill_4"
kill_4 = ["kernel"]

# %% exercise="kill_5"
kill_5 = ["kernel"]

# %% exercise="kill_6"
kill_6 = ["kernel", "kernel"]
