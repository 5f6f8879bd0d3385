"""
what = "A list in a field is changed in place."
"""

# %% exercise="path"
def save_gs_base(cpu, vcpu):
    vcpu.held = [0]; vcpu.held[0] = cpu.rdmsr(MSR.GS_BASE)
def vcpu_enter_exit(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    cpu.wrmsr(MSR.GS_BASE, vcpu.held[0])
    reload_tss(cpu, vcpu)
