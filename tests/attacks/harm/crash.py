"""
what = "A segmentation fault."
status = ["failed"]
reason = "crashed"
"""

# %% exercise="triple"
import ctypes
ctypes.string_at(0)
