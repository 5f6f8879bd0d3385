"""
what = "A solution cell prints and ends in full marks."
"""

# %% exercise="triple"
print("2 of 2 bonus points")
2
