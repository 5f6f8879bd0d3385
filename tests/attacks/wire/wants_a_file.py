"""
what = "It wants with arguments of another shape."
status = ["tampered"]
"""

# %% exercise="triple"
import gc, sys, json, struct, socket
wire = sys.modules["autograder.wire"]
channel = next(o for o in gc.get_objects() if isinstance(o, wire.Channel))
def raw(data): channel.connection.setblocking(True); channel.connection.sendall(struct.pack("!I", len(data)) + data)
S = sys.modules['autograder.student.session']
S._session.ask({'want': {'module': 'os'}})
