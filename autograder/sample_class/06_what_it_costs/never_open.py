"""
what = "Whoever wins more often has won; no answer is open. test_decide is to catch it."

[expect]
test_decide = 0
"""


# %% exercise="decide"
def decide(a, b, f, draws):
    return "a" if chance(a, b, f, draws) > 0.5 else "b"


# %% exercise="limit"
def limit(a, b, f, prices):
    return 100
