"""
what = '''
The shortest window leaves out STI and CLI: no interrupt ends the guest's run. check is to name it in the
bonus.'''
"""


# %% exercise="shortest"
def no_flags(cpu, vcpu):
    save_area_pa, vmcb_pa = vcpu.save_area_pa, vcpu.vmcb_pa
    cpu.vmload(vmcb_pa)
    cpu.vmrun(vmcb_pa)
    cpu.vmsave(vmcb_pa)
    cpu.vmload(save_area_pa)


shortest = check.path(
    prepare_switch_to_guest=mended_a_save, vcpu_enter_exit=no_flags, prepare_host_switch=a_put
)
