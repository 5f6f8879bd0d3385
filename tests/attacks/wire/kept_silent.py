"""
what = "It answers nothing any more."
status = ["failed"]
reason = "could not be stopped"
"""

# %% exercise="triple"
import sys, time
session = sys.modules["autograder.student.session"].Session
session._reply = lambda self, answer: time.sleep(60)
