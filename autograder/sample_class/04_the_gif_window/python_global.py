"""
what = "The page's address waits in a Python dict instead of a vcpu field. check is to name it."

[expect]
test_mend_a = 0
"""

# %% exercise="mend_a"
pages = {}


def mended_a_save(cpu, vcpu):
    pages[vcpu.cpu] = per_cpu(cpu, vcpu.cpu, "save_area_pa")
    if not vcpu.guest_state_loaded:
        cpu.vmsave(pages[vcpu.cpu])
        vcpu.guest_state_loaded = True


def mended_a_enter_exit(cpu, vcpu):
    save_area_pa = pages[vcpu.cpu]
    svm_vcpu_run(cpu, vcpu)
    cpu.vmload(save_area_pa)
