"""
what = '''
The right event, and a host that is none of the two: test_fatal_b is to say so, also where it is seen.'''

[expect]
test_fatal_b = 0
bonus_shortest = 2
"""

# %% exercise="fatal_b"
fatal_b, dies_b = "user+nmi.51", "without_fsgsbase"
