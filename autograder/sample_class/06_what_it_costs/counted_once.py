"""
what = "Every event is paid once, however often it happened. test_total is to catch it."

[expect]
test_total = 0
test_border = 0
"""


# %% exercise="total"
def total(counts, prices):
    return tuple(sum(prices[event][end] for event in counts) for end in range(3))


# %% exercise="limit"
def limit(a, b, f, prices):
    return 100
