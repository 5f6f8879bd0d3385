"""
what = "Prints while it works."
start = "solution"
"""

# %% exercise="triple"
def triple(n):
    print("tripling", n)
    return n + n + n
print("defined")
