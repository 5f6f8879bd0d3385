"""
what = "The difference leaves out what only b has. test_less is to catch it."

[expect]
test_less = 0
test_border = 0
test_chance = 0
test_decide = 0
"""


# %% exercise="less"
def less(a, b):
    return {event: times - b.get(event, 0) for event, times in a.items()}


# %% exercise="limit"
def limit(a, b, f, prices):
    return 100
