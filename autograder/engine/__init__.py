"""What runs the judge over many submissions: workers, their sandboxes, the journal.

sandbox    a worker's warm zygote, and the processes that it forks for submissions
worker     a process that grades what it is sent, one submission after the other
pool       several workers; every submission ends in a verdict, whatever becomes of them
journal    verdicts on disk, so that nothing is lost and nothing is graded twice
folders    nbgrader's autograded/, written under another name and renamed
kernels    stock kernels instead of the judge, for audits
"""

from . import folders
from .journal import Journal, JournalError
from .pool import EngineError, Options, TooFewLayers, grade, layers, require

__all__ = [
    "EngineError",
    "Journal",
    "JournalError",
    "Options",
    "TooFewLayers",
    "folders",
    "grade",
    "layers",
    "require",
]
