"""
what = "A number of memory cells too large to be priced: a field of a megabyte."
"""

# %% exercise="path"
def save_gs_base(cpu, vcpu):
    vcpu.base = [cpu.rdmsr(MSR.GS_BASE)] + [0] * 200_000
def vcpu_enter_exit(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    cpu.wrmsr(MSR.GS_BASE, vcpu.base[0])
    reload_tss(cpu, vcpu)
