"""
what = "window is no path but an object with every attribute."
"""

# %% exercise="path"
class Everything:
    def __getattr__(self, name): return self
    def __call__(self, *a, **k): return self
save_gs_base = vcpu_enter_exit = Everything()
