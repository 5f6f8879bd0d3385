"""
what = '''
bhyve gets a page for the host and a second VMLOAD: safe, and not what was asked. test_mend_4 is to
catch it.'''

[expect]
test_mend_4 = 0
bonus_kill_6 = 2
"""


# %% exercise="mend_4"
def mended_4(cpu, vcpu):
    page = per_cpu(cpu, vcpu.cpu, "save_area_pa")
    cpu.vmsave(page)
    svm_vcpu_run(cpu, vcpu)
    cpu.vmload(page)
