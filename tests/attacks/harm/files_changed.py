"""
what = "Files of the course and of the class are changed."
"""

# %% exercise="triple"
import svmlib, os, glob
for p in glob.glob(os.path.dirname(svmlib.__file__) + "/*.py") + [os.environ.get("CANARY", "/tmp/canary")]:
    for mode in ("a", "w", "r+"):
        try: open(p, mode).write("# changed")
        except OSError: pass
    for f in (os.unlink, lambda p: os.chmod(p, 0), lambda p: os.rename(p, p + "x"), lambda p: os.truncate(p, 0)):
        try: f(p)
        except OSError: pass
