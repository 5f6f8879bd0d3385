"""
what = '''
A function that is right, and None in place of the answers. test_decide is to notice it.'''

[expect]
test_decide = 0
bonus_limit = 2
"""

# %% exercise="answers"
answers = None
