"""
what = "The network, and sockets of the machine."
"""

# %% exercise="triple"
found = []
def look(f):
    try:
        got = f()
        if got: found.append(got)
    except Exception as e: pass

import socket
look(lambda: socket.create_connection(("127.0.0.1", 22), 1))
look(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 53)))
look(lambda: socket.socket(socket.AF_UNIX))
look(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))
look(lambda: socket.getaddrinfo("localhost", 80))

def triple(n): return 3 * n if found else 0
