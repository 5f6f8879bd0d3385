"""
what = "A path of instructions without end."
"""

# %% exercise="path"
def save_gs_base(cpu, vcpu):
    while True: cpu.rdmsr(MSR.GS_BASE)
def vcpu_enter_exit(cpu, vcpu): pass

# %% exercise="triple"
def triple(n):
    return 0
