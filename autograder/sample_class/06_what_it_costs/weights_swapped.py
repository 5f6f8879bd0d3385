"""
what = "f weighs the kernel's exits. test_average is to catch it."

[expect]
test_average = 0
test_chance = 0
test_decide = 0
"""


# %% exercise="average"
def average(path, f):
    kernel, user = path["kernel"], path["user"]
    return {event: f * kernel.get(event, 0) + (1 - f) * user.get(event, 0) for event in {**kernel, **user}}


# %% exercise="limit"
def limit(a, b, f, prices):
    return 100
