"""
what = "Another design: bills are mixed instead of counts; the bonus by two trials."

[expect]
bonus_limit = 2
"""


# %% exercise="average"
def average(path, f):
    mixed = {}
    for kind, weight in (("kernel", 1 - f), ("user", f)):
        for event, times in path[kind].items():
            mixed.setdefault(event, 0)
            mixed[event] += weight * times
    return mixed


# %% exercise="chance"
def chance(a, b, f, draws):
    def cost(path, draw):
        kernel, user = (
            sum(n * draw[event] for event, n in path[kind].items()) for kind in ("kernel", "user")
        )
        return kernel + f * (user - kernel)

    return sum(cost(a, draw) < cost(b, draw) for draw in draws) / len(draws)


# %% exercise="limit"
def limit(a, b, f, prices):
    def gap(ltr):
        return total(less(average(a, f), average(b, f)), prices | {"LTR": (ltr, ltr, ltr)})[1]

    return -gap(0) / (gap(1) - gap(0))
