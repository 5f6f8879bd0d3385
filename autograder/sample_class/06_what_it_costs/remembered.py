"""
what = "The first answer is kept in a variable and given again. test_load is to catch it."

[expect]
test_load = 0
"""

# %% exercise="load"
KEPT = []


def load(ticks, per_second, mhz):
    if not KEPT:
        KEPT.append(100 * ticks * per_second / (mhz * 1e6))
    return KEPT[0]


# %% exercise="limit"
def limit(a, b, f, prices):
    return 100
