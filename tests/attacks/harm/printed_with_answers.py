"""
what = "Each answer carries four megabytes of printed text."
status = ["failed"]
reason = "more than 20 MB"
"""

# %% exercise="triple"
import sys
session = sys.modules["autograder.student.session"].Session
answered = session._answered
def loud(self, request):
    printed = [{"output_type": "stream", "name": "stdout", "text": f"{self.number}" + "x" * 3_900_000}]
    return answered(self, request) | {"printed": printed}
session._answered = loud
def triple(n): return 3 * n + (n > 100)
