"""
what = "A loop that swallows interrupts."
status = ["failed", "graded"]
"""

# %% exercise="triple"
while True:
    try:
        while True: pass
    except BaseException: pass
