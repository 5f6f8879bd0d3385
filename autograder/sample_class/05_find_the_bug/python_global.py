"""
what = "The host's FRED_RSP0 waits in a Python dict. check is to name it."

[expect]
test_mend_5 = 0
bonus_kill_6 = 2
"""

# %% exercise="mend_5"
rsp0 = {}


def mended_5(cpu, vcpu):
    rsp0[vcpu.cpu] = cpu.rdmsr(MSR.FRED_RSP0)
    enter_exit_5(cpu, vcpu)
    cpu.wrmsr(MSR.FRED_RSP0, rsp0[vcpu.cpu])
