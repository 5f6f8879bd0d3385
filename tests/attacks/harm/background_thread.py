"""
what = "A thread that goes on while the tests run."
"""

# %% exercise="triple"
import threading
def spin():
    while True: pass
for _ in range(3): threading.Thread(target=spin, daemon=True).start()
