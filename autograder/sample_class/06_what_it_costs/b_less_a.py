"""
what = "The difference has the wrong sign. test_less is to catch it."

[expect]
test_less = 0
test_chance = 0
test_decide = 0
"""


# %% exercise="less"
def less(a, b):
    return {event: b.get(event, 0) - a.get(event, 0) for event in {**a, **b}}


# %% exercise="limit"
def limit(a, b, f, prices):
    return 100
