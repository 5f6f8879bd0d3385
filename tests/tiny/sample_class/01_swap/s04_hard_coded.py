"""
what = "Hard-coded for the visible check: the hidden one fails."

[expect]
test_swap = 0
test_words = 0
bonus_arguments = 0.5
"""


# %% exercise="swap"
def swap(a, b):
    return 2, 1
