"""The trusted side: it holds the machine, the tests and the seed, and gives the marks.

verdict      what comes of a submission
release      what decides marks, as plain data
exercise     an exercise made ready: which cell needs which names, and whose they are
restore      a submission's cells beside the release's, which come back whatever was done to them
conversation questions to the student's process and its answers, in time and in form
standin      a student's object as a test cell sees it
behaviour    what a path's function does with the machine, learnt one question at a time
cells        a test cell run; what was seen before is not run again
memory       what was seen before, by this worker or another
grading      one submission -> its verdict
"""

from .release import Release, Submission
from .verdict import Mark, Verdict

__all__ = ["Mark", "Release", "Submission", "Verdict"]
