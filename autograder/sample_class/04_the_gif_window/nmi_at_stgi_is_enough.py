"""
what = '''
Every event is the NMI that waits for STGI, on the host that is named first: nothing dies. check.kills is to
say so.'''

[expect]
test_fatal_a = 0
test_fatal_b = 0
bonus_shortest = 2
"""

# %% exercise="fatal_a"
fatal_a = "kernel+nmi"

# %% exercise="fatal_b"
fatal_b, dies_b = "user+nmi", "with_fsgsbase"
