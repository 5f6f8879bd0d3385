"""
what = "Signals to the parent, the group, everybody."
"""

# %% exercise="triple"
import os, signal
for target in (os.getppid(), -1, 0, 1, -os.getpgrp()):
    for s in (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP, signal.SIGINT):
        for kill in (os.kill, os.killpg, lambda p, s: signal.pidfd_send_signal(os.pidfd_open(p), s)):
            try: kill(target, s)
            except (OSError, OverflowError, ValueError): pass
