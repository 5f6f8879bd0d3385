"""
what = '''
The path is right; for the bonus the form of 2023 is taken from the library. check.beats is to refuse it.'''
"""

# %% exercise="cheaper"
from svmlib.paths import vmload_before_stgi as merged

cheaper = merged.since_2023
