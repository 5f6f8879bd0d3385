"""
what = "Path D is taken to die, for its order; two of four are told right."

[expect]
test_survives = 2
bonus_shortest = 2
"""

# %% exercise="survives"
survives = {
    "A": (False, False, False),
    "B": (False, False, False),
    "C": (True, True, False),
    "D": (False, False, False),
}
