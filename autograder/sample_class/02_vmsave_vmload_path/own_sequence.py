"""
what = "Right: the entry written out, without LTR, which earns the bonus."

[expect]
bonus_cheaper = 2
"""


# %% exercise="vcpu_enter_exit"
def vcpu_enter_exit(cpu, vcpu):
    host, guest = this_cpu_read(cpu, "save_area_pa"), vcpu.vmcb_pa
    cpu.sti()
    cpu.vmload(guest)
    cpu.vmrun(guest)
    cpu.vmsave(guest)
    cpu.vmload(host)
    cpu.cli()


# %% exercise="cheaper"
cheaper = check.path(
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
