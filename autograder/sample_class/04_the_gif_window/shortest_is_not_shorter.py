"""
what = "Correct, without the bonus: as short as the merged one, give or take a step."

[expect]
bonus_shortest = 2
"""


# %% exercise="shortest"
def a_step_less(cpu, vcpu):
    save_area_pa = vcpu.save_area_pa
    svm_vcpu_run(cpu, vcpu)
    cpu.vmload(save_area_pa)


shortest = check.path(
    prepare_switch_to_guest=mended_a_save, vcpu_enter_exit=a_step_less, prepare_host_switch=a_put
)
