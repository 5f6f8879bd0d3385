"""
what = "A fraction is given for percent. test_load is to catch it."

[expect]
test_load = 0
"""


# %% exercise="load"
def load(ticks, per_second, mhz):
    return ticks * per_second / (mhz * 1e6)


# %% exercise="limit"
def limit(a, b, f, prices):
    return 100
