"""
what = "Threads, a pool, and await at the top."
start = "solution"
"""

# %% exercise="triple"
import asyncio
from concurrent.futures import ThreadPoolExecutor
await asyncio.sleep(0.01)
with ThreadPoolExecutor(2) as pool:
    factor = sum(pool.map(int, "111"))
def triple(n): return factor * n
