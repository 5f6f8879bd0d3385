"""
what = "All but path B are told right; B is taken to die everywhere."

[expect]
test_survives = 3
bonus_shortest = 2
"""

# %% exercise="survives"
survives = {
    "A": (False, False, False),
    "B": (False, False, False),
    "C": (True, True, False),
    "D": (True, True, False),
}
