"""
what = '''
The guest's VMLOAD is back in the window, and the host is saved there, too, after it: the page holds the
guest. test_mend_a is to catch it.'''

[expect]
test_mend_a = 0
"""


# %% exercise="mend_a"
def mended_a_save(cpu, vcpu):
    vcpu.save_area_pa = per_cpu(cpu, vcpu.cpu, "save_area_pa")


def mended_a_enter_exit(cpu, vcpu):
    cpu.sti()
    cpu.vmload(vcpu.vmcb_pa)
    cpu.vmsave(vcpu.save_area_pa)
    cpu.vmrun(vcpu.vmcb_pa)
    cpu.vmsave(vcpu.vmcb_pa)
    cpu.cli()
    cpu.vmload(vcpu.save_area_pa)


# %% exercise="shortest"
shortest = check.path(
    prepare_switch_to_guest=mended_a_save,
    vcpu_enter_exit=mended_a_enter_exit,
    prepare_host_switch=a_put,
)
