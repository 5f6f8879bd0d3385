"""
what = "The kernel is told that the host's value is in the register. test_mend_5 is to catch it."

[expect]
test_mend_5 = 0
bonus_kill_6 = 2
"""


# %% exercise="mend_5"
def mended_5(cpu, vcpu):
    host_rsp0 = cpu.rdmsr(MSR.FRED_RSP0)
    enter_exit_5(cpu, vcpu)
    this_cpu_write(cpu, "fred_rsp0", host_rsp0)
