"""
what = "Its process ends itself."
failed = "its process ended itself"
"""

# %% exercise="swap"
import os

os._exit(1)
