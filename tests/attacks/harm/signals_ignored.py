"""
what = "Interrupts are ignored, and it sleeps."
status = ["failed"]
reason = "could not be stopped"
"""

# %% exercise="triple"
import signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
time.sleep(300)
