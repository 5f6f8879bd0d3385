"""
what = "The visible hosts' bases, as a table."
"""

# %% exercise="path"
def save_gs_base(cpu, vcpu):
    pass
def vcpu_enter_exit(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    cpu.wrmsr(MSR.GS_BASE, 0xFFFF_8880_1F20_0000)
    reload_tss(cpu, vcpu)
