"""
what = "A file of its own, for notes."
start = "solution"
"""

# %% exercise="triple"
with open("notes.txt", "w") as f: f.write("three")
assert open("notes.txt").read() == "three"
def triple(n): return 3 * n
