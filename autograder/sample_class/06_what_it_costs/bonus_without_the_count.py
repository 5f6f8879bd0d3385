"""
what = "The bonus has the wrong sign: a negative price."
"""


# %% exercise="limit"
def limit(a, b, f, prices):
    gap = less(average(a, f), average(b, f))
    times = gap.pop("LTR")
    return total(gap, prices)[1] / times
