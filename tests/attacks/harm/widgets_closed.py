"""
what = "IPython is told to exit."
"""

# %% exercise="triple"
exit()
quit()
raise SystemExit
