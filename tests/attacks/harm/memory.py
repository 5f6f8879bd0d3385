"""
what = "Fifty gigabytes at once, then more and more."
status = ["graded", "failed"]
"""

# %% exercise="triple"
try: bytearray(50 << 30)
except MemoryError: pass
held = []
while True: held.append(bytearray(64 << 20))
