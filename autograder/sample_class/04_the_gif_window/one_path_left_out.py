"""
what = '''
Three paths told right, and no line for the fourth: test_survives is to count the rest.'''

[expect]
test_survives = 3
bonus_shortest = 2
"""

# %% exercise="survives"
survives = {"A": (False, False, False), "B": [True, False, False], "C": (True, True, False), "D": None}
