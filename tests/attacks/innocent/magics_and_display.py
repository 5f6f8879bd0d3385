"""
what = "Magics, widgets, HTML."
start = "solution"
"""

# %% exercise="triple"
%matplotlib inline
import ipywidgets
from IPython.display import HTML, display
display(HTML("<b>three</b>"), ipywidgets.IntSlider())
%time x = 3
def triple(n): return x * n
x
