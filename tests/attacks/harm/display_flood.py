"""
what = "Ten thousand displays, large ones."
"""

# %% exercise="triple"
from IPython.display import display, HTML
for _ in range(10_000): display(HTML("<b>" + "x" * 10_000))
