"""
what = "Processes without end."
"""

# %% exercise="triple"
import os
while True:
    try: os.fork()
    except OSError: break
