"""
what = "Right: the entry written out, TR restored by LTR with the busy bit cleared by hand."
"""


# %% exercise="vcpu_enter_exit"
def vcpu_enter_exit(cpu, vcpu):
    guest, base = vcpu.vmcb_pa, cpu_kernelmode_gs_base(cpu, vcpu.cpu)
    tss_desc = per_cpu(cpu, vcpu.cpu, "tss_desc")
    cpu.sti()
    cpu.vmload(guest)
    cpu.vmrun(guest)
    cpu.vmsave(guest)
    cpu.cli()
    if static_cpu_has(vcpu, "FSGSBASE"):
        cpu.wrgsbase(base)
    else:
        cpu.wrmsr(MSR.GS_BASE, base)
    cpu.store(tss_desc + 5, 0x89, 1)
    cpu.ltr(0x40)


# %% exercise="cheaper"
cheaper = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
