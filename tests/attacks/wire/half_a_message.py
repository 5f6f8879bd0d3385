"""
what = "A length, and nothing that follows."
status = ["failed"]
"""

# %% exercise="triple"
import gc, sys, json, struct, socket
wire = sys.modules["autograder.wire"]
channel = next(o for o in gc.get_objects() if isinstance(o, wire.Channel))
def raw(data): channel.connection.setblocking(True); channel.connection.sendall(struct.pack("!I", len(data)) + data)
channel.connection.sendall(struct.pack('!I', 1000)); import time; time.sleep(60)
