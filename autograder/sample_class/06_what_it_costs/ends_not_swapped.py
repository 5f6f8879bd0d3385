"""
what = "The ends of a negative count's interval stay where they were. test_total is to catch it."

[expect]
test_total = 0
"""


# %% exercise="total"
def total(counts, prices):
    return tuple(sum(times * prices[event][end] for event, times in counts.items()) for end in range(3))


# %% exercise="limit"
def limit(a, b, f, prices):
    return 100
