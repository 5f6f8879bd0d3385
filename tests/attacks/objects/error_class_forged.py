"""
what = "An exception that calls itself something the judge knows."
"""

# %% exercise="triple"
def triple(n):
    raise type("Tampering", (Exception,), {})("Lost")
