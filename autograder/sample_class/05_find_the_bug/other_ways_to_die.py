"""
what = "Longer and other lists that kill as well."

[expect]
bonus_kill_6 = 2
"""

# %% exercise="kill_1"
kill_1 = ["user", "user", "user", "user"]

# %% exercise="kill_2"
kill_2, sme_2 = ["user+nmi", "kernel"], True

# %% exercise="kill_3"
kill_3 = ["kernel", "sched", "user+reboot.2"]

# %% exercise="kill_4"
kill_4 = ["kernel", "sched"]

# %% exercise="kill_5"
kill_5 = ["kernel", "kernel+nmi", "sched"]

# %% exercise="kill_6"
kill_6 = ["user", "user", "user", "kernel", "user"]
