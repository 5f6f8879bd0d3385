"""
what = "An exit is misspelt: the check says what can be written, and the rest goes on."

[expect]
test_kill_1 = 0
bonus_kill_6 = 2
"""

# %% exercise="kill_1"
kill_1 = ["kernel", "kernal@1"]
