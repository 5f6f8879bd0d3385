"""
what = '''
The right event between the right instructions, on the host whose NMI looks at no sign. test_fatal_b is to
catch it.'''

[expect]
test_fatal_b = 0
bonus_shortest = 2
"""

# %% exercise="fatal_b"
fatal_b, dies_b = "user+nmi.51", "with_fsgsbase"
