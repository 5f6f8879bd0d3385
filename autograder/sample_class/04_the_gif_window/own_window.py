"""
what = '''
Path A mended without svm_vcpu_run: both addresses are fields before CLGI, so the window is as short as the
bonus wants it, and CLI comes last.'''

[expect]
bonus_shortest = 2
"""


# %% exercise="mend_a"
def mended_a_save(cpu, vcpu):
    vcpu.save_area_pa = per_cpu(cpu, vcpu.cpu, "save_area_pa")
    if not vcpu.guest_state_loaded:
        cpu.vmsave(vcpu.save_area_pa)
        vcpu.guest_state_loaded = True
    vcpu.entry_pa = vcpu.vmcb_pa


def mended_a_enter_exit(cpu, vcpu):
    host, guest = vcpu.save_area_pa, vcpu.entry_pa
    cpu.sti()
    cpu.vmload(guest)
    cpu.vmrun(guest)
    cpu.vmsave(guest)
    cpu.vmload(host)
    cpu.cli()


# %% exercise="shortest"
shortest = check.path(
    prepare_switch_to_guest=mended_a_save,
    vcpu_enter_exit=mended_a_enter_exit,
    prepare_host_switch=a_put,
)
