"""What a submission's process may not do with the layers on, whichever of them forbids it."""

import subprocess
import sys

import pytest

from autograder import engine
from conftest import missing

#: A process under all layers, but with the rules that Landlock had before Linux 6.12: no scope of signals.
UNDER_LAYERS = """
import fcntl, os, socket, struct, sys, types
from pathlib import Path
from autograder.student import layers

def older(form, *values):
    return struct.pack(form, *values[:2], 0) if form == "QQQ" else struct.pack(form, *values)

layers.struct = types.SimpleNamespace(pack=older)
victim, folder = int(sys.argv[1]), Path(sys.argv[2])
(folder / "work").mkdir(parents=True)
layers.Plan(folder=folder, roots=[], memory=1 << 30, seconds=10, allow_answers=True).apply()
"""
BY_PIPE = """
reader, writer = os.pipe()
fcntl.fcntl(reader, fcntl.F_SETFL, os.O_ASYNC)
fcntl.fcntl(reader, fcntl.F_SETOWN, victim)
fcntl.fcntl(reader, 10, 9)  # F_SETSIG, SIGKILL
os.write(writer, b"x")
"""
BY_SOCKET = """
ours, theirs = socket.socketpair()
fcntl.fcntl(ours, fcntl.F_SETFL, os.O_ASYNC)
fcntl.ioctl(ours, 0x8901, struct.pack("i", victim))  # FIOSETOWN
theirs.send(b"x")
"""
ORDINARY = """
reader, writer = os.pipe()
os.set_blocking(reader, False)
os.set_inheritable(writer, True)
assert fcntl.fcntl(reader, fcntl.F_GETFL) & os.O_NONBLOCK
assert not os.isatty(reader)
assert os.get_inheritable(fcntl.fcntl(reader, fcntl.F_DUPFD_CLOEXEC, 0)) is False
"""


@pytest.fixture
def victim():
    """A process of the same user, outside."""
    lacking = [layer for layer in engine.layers() if not layer.taken]
    if lacking:
        missing(f"layers: {lacking}")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def run(program, victim, tmp_path):
    """What `program` says with the layers on."""
    command = [sys.executable, "-c", UNDER_LAYERS + program, str(victim.pid), str(tmp_path / "folder")]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("program", [BY_PIPE, BY_SOCKET], ids=["pipe", "socket"])
def test_nobody_outside_is_sent_a_signal_through_the_owner_of_a_file(program, victim, tmp_path):
    done = run(program, victim, tmp_path)
    assert "PermissionError" in done.stderr
    with pytest.raises(subprocess.TimeoutExpired):
        victim.wait(0.2)


def test_files_and_pipes_are_used_as_ever(victim, tmp_path):
    done = run(ORDINARY, victim, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
