"""
what = "Right by another design, which earns the other half of the bonus; no answer written."
start = "release"
expect.bonus_arguments = 0.5
"""


# %% exercise="swap"
def swap(*values):
    return values[::-1]
