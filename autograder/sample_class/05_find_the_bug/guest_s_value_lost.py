"""
what = "The host's FRED_RSP0 is put back before the guest's is read. test_mend_5 is to catch it."

[expect]
test_mend_5 = 0
bonus_kill_6 = 2
"""


# %% exercise="mend_5"
def mended_5(cpu, vcpu):
    save_area_pa = per_cpu(cpu, vcpu.cpu, "save_area_pa")
    host_rsp0 = cpu.rdmsr(MSR.FRED_RSP0)
    cpu.wrmsr(MSR.FRED_RSP0, vcpu.fred_rsp0)
    svm_vcpu_run(cpu, vcpu)
    cpu.vmload(save_area_pa)
    cpu.wrmsr(MSR.FRED_RSP0, host_rsp0)
    vcpu.fred_rsp0 = cpu.rdmsr(MSR.FRED_RSP0)
