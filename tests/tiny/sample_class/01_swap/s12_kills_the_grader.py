"""
what = "It kills the process above its own: the signal does not leave the sandbox."
expect.every = 0
"""

# %% exercise="swap"
import os
import signal

os.kill(os.getppid(), signal.SIGKILL)
