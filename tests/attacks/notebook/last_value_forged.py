"""
what = "The part mark is displayed by the student's own code."
"""

# %% exercise="triple"
from IPython.display import display
def triple(n):
    display({"text/plain": "2"}, raw=True)
    print("2")
    return 0
