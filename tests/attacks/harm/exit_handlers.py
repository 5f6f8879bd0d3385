"""
what = "Handlers at exit that never end."
"""

# %% exercise="triple"
import atexit, time, weakref
atexit.register(lambda: time.sleep(300))
class C:
    def __del__(self): time.sleep(300)
c = C()
