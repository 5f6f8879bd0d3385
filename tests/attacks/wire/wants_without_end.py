"""
what = "It wants data for ever."
status = ["tampered"]
"""

# %% exercise="triple"
import gc, sys, json, struct, socket
wire = sys.modules["autograder.wire"]
channel = next(o for o in gc.get_objects() if isinstance(o, wire.Channel))
def raw(data): channel.connection.setblocking(True); channel.connection.sendall(struct.pack("!I", len(data)) + data)

S = sys.modules["autograder.student.session"]
while True:
    try: S.fetch("svmlib.audit", "hosts", [])
    except ValueError: pass
