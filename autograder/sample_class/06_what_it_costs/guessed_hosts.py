"""
what = "The function is right, the answers are what was merged. test_decide is to catch it."

[expect]
test_decide = 0
"""

# %% exercise="answers"
answers = {"haswell": "merged", "idle": "merged", "user-device": "merged"}


# %% exercise="limit"
def limit(a, b, f, prices):
    return 100
