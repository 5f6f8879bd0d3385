"""
what = "A path that never comes back."
"""

# %% exercise="path"
def save_gs_base(cpu, vcpu):
    while True: pass
def vcpu_enter_exit(cpu, vcpu): pass

# %% exercise="triple"
def triple(n):
    return 0
