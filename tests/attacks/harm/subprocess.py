"""
what = "Another program, a shell, a daemon."
"""

# %% exercise="triple"
import os, subprocess
for command in (["/bin/sh", "-c", "sleep 300 &"], ["/usr/bin/python3", "-c", "1"]):
    try: subprocess.Popen(command, start_new_session=True)
    except OSError: pass
try: os.system("sleep 300 &")
except OSError: pass
try: os.posix_spawn("/bin/sh", ["sh"], {})
except OSError: pass
try: os.execv("/bin/sh", ["sh"])
except OSError: pass
