"""
what = "hasattr, getattr with a default, try and except around an instruction."
start = "solution"
"""

# %% exercise="path"
def save_gs_base(cpu, vcpu):
    if not hasattr(vcpu, "seen"): vcpu.seen = 0
    vcpu.seen = getattr(vcpu, "seen", 0) + getattr(vcpu, "never", 1)
    try: vcpu.nothing
    except AttributeError: vcpu.host_gs_base = cpu.rdmsr(MSR.GS_BASE)
def vcpu_enter_exit(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    cpu.wrmsr(msr=MSR.GS_BASE, value=vcpu.host_gs_base) if False else cpu.wrmsr(MSR.GS_BASE, vcpu.host_gs_base)
    reload_tss(cpu, vcpu)
