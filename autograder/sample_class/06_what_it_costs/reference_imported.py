"""
what = "The checks' own right answers are imported and handed in. They are to be refused."

[expect]
every = 0
"""

# %% exercise="total"
from svmlib.audit import right

total = right.total

# %% exercise="average"
average = right.average

# %% exercise="less"
less = right.less

# %% exercise="border"
border = right.border

# %% exercise="chance"
chance = right.chance

# %% exercise="decide"
decide = right.decide

# %% exercise="answers"
answers = {"haswell": "lazy", "idle": "open", "user-device": "merged"}

# %% exercise="load"
load = right.load

# %% exercise="limit"
limit = right.limit
