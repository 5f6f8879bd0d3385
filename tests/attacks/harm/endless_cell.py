"""
what = "A cell without end."
reason = ""
"""

# %% exercise="triple"
while True: pass
