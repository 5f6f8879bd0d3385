"""
what = "A disk full of files."
"""

# %% exercise="triple"
n = 0
while True:
    try:
        with open(f"f{n}", "wb") as f: f.write(b"x" * (1 << 20))
        n += 1
    except OSError: break
try:
    while True:
        n += 1
        open(f"e{n}", "w").close()
except OSError: pass
