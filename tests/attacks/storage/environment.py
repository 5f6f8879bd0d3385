"""
what = "An environment variable."
"""

# %% exercise="path"
def save_gs_base(cpu, vcpu):
    import os; os.environ['BASE'] = str(int(cpu.rdmsr(MSR.GS_BASE)))
def vcpu_enter_exit(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    cpu.wrmsr(MSR.GS_BASE, int(__import__('os').environ['BASE']))
    reload_tss(cpu, vcpu)
