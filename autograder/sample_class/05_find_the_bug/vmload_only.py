"""
what = '''
VMLOAD gets its exception table entry, VMSAVE, which is the one that the interrupt reaches, does not.
test_mend_3 is to catch it.'''

[expect]
test_mend_3 = 0
bonus_kill_6 = 2
"""


# %% exercise="mend_3"
def mended_3_save(cpu, vcpu):
    if not vcpu.guest_state_loaded:
        cpu.vmsave(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
        vcpu.guest_state_loaded = True


def mended_3_enter_exit(cpu, vcpu):
    save_area_pa = per_cpu(cpu, vcpu.cpu, "save_area_pa")
    svm_vcpu_run(cpu, vcpu)
    svm_ops.vmload(cpu, save_area_pa)
