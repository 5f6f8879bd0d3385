"""
what = "The process ends."
status = ["failed"]
reason = "ended itself"
"""

# %% exercise="triple"
import os
os._exit(0)
