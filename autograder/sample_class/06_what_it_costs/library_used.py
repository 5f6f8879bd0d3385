"""
what = "The library's own functions are called. The checks are to refuse them."

[expect]
test_total = 0
test_less = 0
test_border = 0
test_chance = 0
test_decide = 0
"""


# %% exercise="total"
def total(counts, prices):
    from svmlib.costs import Price, PriceList

    costs = PriceList("x", {e: Price(*p, "ticks", "assumed", ()) for e, p in prices.items()})
    return costs.total(counts)


# %% exercise="less"
def less(a, b):
    import svmlib.costs.exits

    return svmlib.costs.exits.less(a, b)


# %% exercise="limit"
def limit(a, b, f, prices):
    return 100
