"""
what = "A list in a list, a thousand deep."
"""

# %% exercise="triple"
def triple(n):
    deep = []
    for _ in range(100_000): deep = [deep]
    return deep
