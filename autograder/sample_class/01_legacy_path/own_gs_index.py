"""
what = "Right: one field for all, MOV GS between SWAPGS of its own, TR before the GS base."

[expect]
bonus_cheaper = 2
"""


# %% exercise="host_msrs"
def save_host_msrs(cpu, vcpu):
    vcpu.star, vcpu.lstar, vcpu.cstar = cpu.rdmsr(MSR.STAR), cpu.rdmsr(MSR.LSTAR), cpu.rdmsr(MSR.CSTAR)
    vcpu.sfmask = cpu.rdmsr(MSR.SFMASK)
    vcpu.bases = [cpu.rdmsr(MSR.KERNEL_GS_BASE), cpu.rdmsr(MSR.FS_BASE)]
    vcpu.sysenter = [cpu.rdmsr(MSR.SYSENTER_CS), cpu.rdmsr(MSR.SYSENTER_ESP), cpu.rdmsr(MSR.SYSENTER_EIP)]
    vcpu.tsc_aux = cpu.rdmsr(MSR.TSC_AUX)


def restore_host_msrs(cpu, vcpu):
    cpu.wrmsr(MSR.STAR, vcpu.star)
    cpu.wrmsr(MSR.LSTAR, vcpu.lstar)
    cpu.wrmsr(MSR.CSTAR, vcpu.cstar)
    cpu.wrmsr(MSR.SFMASK, vcpu.sfmask)
    for msr, value in zip((MSR.KERNEL_GS_BASE, MSR.FS_BASE), vcpu.bases, strict=True):
        cpu.wrmsr(msr, value)
    for msr, value in zip((MSR.SYSENTER_CS, MSR.SYSENTER_ESP, MSR.SYSENTER_EIP), vcpu.sysenter, strict=True):
        cpu.wrmsr(msr, value)
    cpu.wrmsr(MSR.TSC_AUX, vcpu.tsc_aux)


# %% exercise="gs_base"
def save_gs_base(cpu, vcpu):
    vcpu.gs_base = cpu.rdmsr(MSR.GS_BASE)


def vcpu_enter_exit(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    reload_tss(cpu, vcpu)
    cpu.wrmsr(MSR.GS_BASE, vcpu.gs_base)


# %% exercise="vcpu_load"
def vcpu_load(cpu, vcpu):
    save_host_msrs(cpu, vcpu)
    vcpu.selectors = {"ldt": cpu.sldt(), "fs": cpu.mov_from_sreg("FS"), "gs": cpu.mov_from_sreg("GS")}
    save_gs_base(cpu, vcpu)


# %% exercise="prepare_host_switch"
def prepare_host_switch(cpu, vcpu):
    selectors = vcpu.selectors
    cpu.lldt(selectors["ldt"])
    cpu.swapgs()
    cpu.mov_to_sreg("GS", selectors["gs"])
    cpu.swapgs()
    cpu.mov_to_sreg("FS", selectors["fs"])
    restore_host_msrs(cpu, vcpu)


# %% exercise="cheaper"
cheaper = check.path(
    vcpu_load=vcpu_load, vcpu_enter_exit=vcpu_enter_exit, prepare_host_switch=prepare_host_switch
)
