"""
what = "The exercise handed in as it was given out."
start = "release"

[expect]
every = 0
"""
