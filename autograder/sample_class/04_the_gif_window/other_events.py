"""
what = "Other events that kill as well: a machine check, one step later, and a longer way there."

[expect]
bonus_shortest = 2
"""

# %% exercise="fatal_a"
fatal_a = "kernel+mc.13"

# %% exercise="fatal_b"
fatal_b, dies_b = "user+mc.51", "without"

# %% exercise="fatal_c"
fatal_c = "user+mc"
