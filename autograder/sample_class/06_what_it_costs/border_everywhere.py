"""
what = "A border below 0 or above 1 is given as one. test_border is to catch it."

[expect]
test_border = 0
"""


# %% exercise="border"
def border(a, b, prices):
    at_0, at_1 = (total(less(a[kind], b[kind]), prices)[1] for kind in ("kernel", "user"))
    return at_0 / (at_0 - at_1)


# %% exercise="limit"
def limit(a, b, f, prices):
    return 100
