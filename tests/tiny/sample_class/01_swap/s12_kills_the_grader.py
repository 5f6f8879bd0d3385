"""
what = "It kills the process that grades it."
failed = "it took the grading process down"
"""

# %% exercise="swap"
import os
import signal

os.kill(os.getppid(), signal.SIGKILL)
