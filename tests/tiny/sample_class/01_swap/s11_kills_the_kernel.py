"""
what = "Its kernel dies."
failed = "its kernel died"
"""

# %% exercise="swap"
import os

os._exit(1)
