"""
what = "A file."
"""

# %% exercise="path"
def save_gs_base(cpu, vcpu):
    open('base', 'w').write(str(int(cpu.rdmsr(MSR.GS_BASE))))
def vcpu_enter_exit(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    cpu.wrmsr(MSR.GS_BASE, int(open('base').read()))
    reload_tss(cpu, vcpu)
