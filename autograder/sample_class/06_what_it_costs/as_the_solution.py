"""
what = "The solution, without the bonus."

[expect]
bonus_limit = 0
"""


# %% exercise="limit"
def limit(a, b, f, prices):
    return 100
