"""
what = '''
LDTR becomes null, which is right on hosts whose thread has no LDT alone. test_mend_4 is to catch it.'''

[expect]
test_mend_4 = 0
bonus_kill_6 = 2
"""


# %% exercise="mend_4"
def mended_4(cpu, vcpu):
    enter_exit_4(cpu, vcpu)
    cpu.lldt(0)
