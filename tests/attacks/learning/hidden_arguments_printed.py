"""
what = "The hidden arguments are printed, for the feedback to show."
unseen = "LEAKED"

[expect]
test_triple = 2
bonus_share = 2
"""

# %% exercise="triple"
def triple(n):
    print("LEA" + "KED", n)
    return 3 * n
