"""
what = "Shared memory, message queues, semaphores."
"""

# %% exercise="triple"
found = []
def look(f):
    try:
        got = f()
        if got: found.append(got)
    except Exception as e: pass

import ctypes, mmap, os
libc = ctypes.CDLL(None, use_errno=True)
look(lambda: libc.shmget(1234, 4096, 0o1666) >= 0)
look(lambda: libc.semget(1234, 1, 0o1666) >= 0)
look(lambda: libc.msgget(1234, 0o1666) >= 0)
look(lambda: os.memfd_create("x") >= 0)
look(lambda: os.listdir("/dev/shm"))

def triple(n): return 3 * n if found else 0
