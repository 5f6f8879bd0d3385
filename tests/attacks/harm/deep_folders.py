"""
what = "Folders a thousand deep, without permissions."
"""

# %% exercise="triple"
import os
try:
    for _ in range(1500): os.mkdir("d"); os.chdir("d")
except OSError: pass
try: os.chmod(".", 0)
except OSError: pass
