"""
what = "In one comparison the two paths pay different prices for the same event. test_chance is to catch it."

[expect]
test_chance = 0
test_decide = 0
"""


# %% exercise="chance"
def chance(a, b, f, draws):
    def cost(path, draw):
        return sum(times * draw[event] for event, times in average(path, f).items())

    pairs = zip(draws, reversed(draws), strict=True)
    return sum(cost(a, one) < cost(b, other) for one, other in pairs) / len(draws)


# %% exercise="limit"
def limit(a, b, f, prices):
    return 100
