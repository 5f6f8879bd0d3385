"""
what = "A message longer than any may be."
status = ["tampered"]
"""

# %% exercise="triple"
import gc, sys, json, struct, socket
wire = sys.modules["autograder.wire"]
channel = next(o for o in gc.get_objects() if isinstance(o, wire.Channel))
def raw(data): channel.connection.setblocking(True); channel.connection.sendall(struct.pack("!I", len(data)) + data)
channel.connection.sendall(struct.pack('!I', 1 << 31))
