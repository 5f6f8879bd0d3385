"""
what = "Threads without end."
status = ["graded", "failed"]
"""

# %% exercise="triple"
import threading, time
threads = []
try:
    for _ in range(100_000):
        t = threading.Thread(target=time.sleep, args=(300,), daemon=True); t.start(); threads.append(t)
except (RuntimeError, MemoryError): pass
