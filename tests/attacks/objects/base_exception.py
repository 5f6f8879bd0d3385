"""
what = "KeyboardInterrupt, GeneratorExit, SystemExit."
"""

# %% exercise="triple"
def triple(n):
    raise [GeneratorExit, SystemExit, KeyboardInterrupt][n % 3]
