"""
what = "A hundred megabytes on stdout."
"""

# %% exercise="triple"
for _ in range(100): print("x" * 1_000_000)
import os
for _ in range(100):
    try: os.write(1, b"x" * 1_000_000); os.write(2, b"y" * 1_000_000)
    except OSError: pass
