"""
what = "A helper, a class, a cache that is not used between calls."
start = "solution"
"""

# %% exercise="triple"
from functools import lru_cache
class Tripler:
    factor = 3
    def __call__(self, n): return self.factor * n
@lru_cache
def triple(n):
    return Tripler()(n)
