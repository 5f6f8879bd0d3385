"""
what = "Right: the flag is a field of its own, the number of the CPU whose page holds the host."
"""


# %% exercise="prepare_switch_to_guest"
def prepare_switch_to_guest(cpu, vcpu):
    if getattr(vcpu, "saved_on", None) == vcpu.cpu:
        return
    cpu.vmsave(this_cpu_read(cpu, "save_area_pa"))
    vcpu.host_tsc_aux = cpu.rdmsr(MSR.TSC_AUX)
    vcpu.saved_on = vcpu.cpu


# %% exercise="prepare_host_switch"
def prepare_host_switch(cpu, vcpu):
    cpu.wrmsr(MSR.TSC_AUX, vcpu.host_tsc_aux)
    vcpu.saved_on = None


# %% exercise="cheaper"
cheaper = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
