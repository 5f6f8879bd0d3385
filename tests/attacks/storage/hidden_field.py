"""
what = "A field of vcpu that begins with an underscore."
status = ["graded", "tampered"]
"""

# %% exercise="path"
def save_gs_base(cpu, vcpu):
    vcpu._base = cpu.rdmsr(MSR.GS_BASE)
def vcpu_enter_exit(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    cpu.wrmsr(MSR.GS_BASE, vcpu._base)
    reload_tss(cpu, vcpu)
