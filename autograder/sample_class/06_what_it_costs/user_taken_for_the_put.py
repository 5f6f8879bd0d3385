"""
what = "The counts of a whole exit to user space are taken for what a put adds. test_border is to catch it."

[expect]
test_border = 0
"""


# %% exercise="border"
def border(a, b, prices):
    every, put = (total(less(a[kind], b[kind]), prices)[1] for kind in ("kernel", "user"))
    f = -every / put
    return f if 0 <= f <= 1 else None


# %% exercise="limit"
def limit(a, b, f, prices):
    return 100
