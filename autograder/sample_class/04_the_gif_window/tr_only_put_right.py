"""
what = '''
Path A with an LTR behind the early VMLOAD: the stack is right, GS base is not. test_mend_a is to catch it.'''

[expect]
test_mend_a = 0
"""


# %% exercise="mend_a"
def mended_a_save(cpu, vcpu):
    a_save(cpu, vcpu)
    reload_tss(cpu, vcpu)


def mended_a_enter_exit(cpu, vcpu):
    a_enter_exit(cpu, vcpu)


# %% exercise="shortest"
shortest = check.path(
    prepare_switch_to_guest=mended_a_save,
    vcpu_enter_exit=mended_a_enter_exit,
    prepare_host_switch=a_put,
)
