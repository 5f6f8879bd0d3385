"""
what = '''
Right: the base is looked up after the exit, for the table of the CPUs needs no GS; TR comes first.'''
"""


# %% exercise="vcpu_enter_exit"
def vcpu_enter_exit(cpu, vcpu):
    svm_vcpu_run(cpu, vcpu)
    reload_tss(cpu, vcpu)
    base = cpu_kernelmode_gs_base(cpu, vcpu.cpu)
    write = cpu.wrgsbase if static_cpu_has(vcpu, "FSGSBASE") else lambda value: cpu.wrmsr(MSR.GS_BASE, value)
    write(base)


# %% exercise="cheaper"
cheaper = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
