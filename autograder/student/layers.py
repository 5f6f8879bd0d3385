"""What the kernel is asked to forbid a submission's process: each layer says whether it took, or why not.

    namespaces   no network, nothing shared with others; writing goes to a small memory of its own
    limits       memory, CPU time, file size, open files, core dumps
    landlock     no file but Python's own, read only, and the folder in memory (Linux 5.13); no TCP (6.7);
                 no signal to others (6.12); what is older leaves these two to seccomp
    seccomp      no new process, no socket, no tracing, no mount: system calls by name, all others refused
    privileges   no capabilities, and none to be gained

No root and no Docker is needed on Linux. Landlock is spoken to by ctypes: the one package for it is a
pre-release. seccomp's filter is written by libseccomp through pyseccomp, which know the calls by name.
"""

import ctypes
import errno
import fcntl
import os
import resource
import shutil
import signal
import struct
import sys
import sysconfig
import termios
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

#: Without these a submission is run only by somebody who trusts it.
NEEDED = ("limits", "landlock", "seccomp")
#: What holds the answers: of this project nothing else is hidden from a submission.
ANSWERS = (
    "svmlib.paths",
    "svmlib.explorer",
    "svmlib.explore",
    "svmlib.kvm.bugs",
    "svmlib.compare",
    "svmlib.costs",
    "svmlib.decide",
    "svmlib.audit.right",
    "svmlib.emulators",
    "svmlib.__main__",
)
#: What else lies beside svmlib and is nothing for a submission.
OTHERS = ("autograder", "solutions", "course", "exercises", "tests", "work", ".git")
#: Bytes of memory for files, and of one file.
FOLDER, FILE = 32 << 20, 16 << 20

#: System calls of an ordinary computation. Those with conditions follow in `_conditions`.
CALLS = """
access brk chdir clock_getres clock_gettime clock_nanosleep close close_range dup dup2 dup3 epoll_create
epoll_create1 epoll_ctl epoll_pwait epoll_wait eventfd2 exit exit_group faccessat faccessat2 fadvise64
fallocate fchdir fchmod fdatasync flock fstat fstatfs fsync ftruncate futex get_mempolicy getcwd
getdents getdents64 getegid geteuid getgid getgroups getpeername getpgid getpgrp getpid getppid getpriority
getrandom getresgid getresuid getrlimit getrusage getsockname getsockopt gettid gettimeofday getuid
link linkat lseek lstat madvise membarrier mincore mkdir mkdirat mmap mprotect mremap munmap nanosleep
newfstatat open openat pause pipe pipe2 poll ppoll pread64 preadv pselect6 pwrite64 pwritev read readlink
readlinkat readv recvfrom rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending
rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait sched_getaffinity sched_getparam
sched_getscheduler sched_yield select sendto set_robust_list set_tid_address setitimer getitimer alarm
setsockopt shutdown sigaltstack stat statfs statx symlink symlinkat sysinfo time timer_create timer_settime
timer_delete times truncate umask uname unlink unlinkat utimensat wait4 write writev
""".split()  # noqa: SIM905  # a list that is read as one
#: What fcntl and ioctl may be asked. Not F_SETOWN and F_SETSIG, nor FIOSETOWN: the kernel sends the owner of
#: a pipe or a socket a signal, SIGKILL too, though kill() is refused.
FCNTL = """
F_DUPFD F_DUPFD_CLOEXEC F_GETFD F_SETFD F_GETFL F_SETFL F_GETLK F_SETLK F_SETLKW F_OFD_GETLK F_OFD_SETLK
F_OFD_SETLKW F_GETPIPE_SZ F_SETPIPE_SZ F_ADD_SEALS F_GET_SEALS
""".split()  # noqa: SIM905
IOCTL = "TCGETS TIOCGWINSZ FIONREAD FIONBIO FIOCLEX FIONCLEX".split()  # noqa: SIM905

_CLONE_THREAD = 0x10000
_NEW = {"user": 0x1000_0000, "net": 0x4000_0000, "ipc": 0x0800_0000, "uts": 0x0400_0000, "mount": 0x0002_0000}
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 1, 4, 38, 22
_PR_CAPBSET_DROP = 24

#: Landlock: its three system calls have one number on every architecture, and its rights by ABI version.
_CREATE, _ADD, _RESTRICT = 444, 445, 446
_READ = 1 << 0 | 1 << 2 | 1 << 3  # execute (for shared objects), read file, read folder
_FILES = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}


class Layer(NamedTuple):
    """A layer by name, whether it took, and what there is to say of it."""

    name: str
    taken: bool
    why: str = ""


class Plan:
    """The layers, prepared once in the zygote; `apply` puts them on the child that calls it."""

    def __init__(self, *, folder: Path, roots: list[Path], memory: int, seconds: int, allow_answers: bool):
        """Prepare: `folder` is where a submission may write, `roots` where this project's packages lie."""
        self.folder, self.memory, self.seconds = folder, memory, seconds
        self.work = folder / "work"
        self.layers: list[Layer] = []
        self._libc: Any = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
        self.writable = False
        self._ruleset = -1
        self._filter = b""
        if self._libc is None:
            self.layers = [Layer(name, taken=False, why=f"not on {sys.platform}") for name in
                           ("namespaces", "landlock", "seccomp", "privileges")]  # fmt: skip
        else:
            self._try("namespaces", self._unshare)
            self._try("landlock", lambda: self._prepare_landlock(roots, allow_answers=allow_answers))
            self._try("seccomp", self._prepare_seccomp)
            self._try("privileges", lambda: "")
        self._try("limits", lambda: f"{memory >> 20} MB, {seconds} s of CPU")

    def _try(self, name: str, prepare: Callable[[], str]) -> None:
        try:
            self.layers.append(Layer(name, taken=True, why=prepare()))
        except (OSError, ImportError, AttributeError, RuntimeError) as error:
            self.layers.append(Layer(name, taken=False, why=str(error)))

    def taken(self, name: str) -> bool:
        """Whether a layer took."""
        return any(layer.name == name and layer.taken for layer in self.layers)

    def fresh_folder(self) -> None:
        """Give the next child an empty folder to write to."""
        if self.writable:
            self._libc.umount2(str(self.work).encode(), 2)
            self._mount(self.work, FOLDER)

    def remove_folder(self) -> None:
        """Leave nothing in the system's folder for temporary files."""
        if self.writable:
            for place in (self.work, self.folder):
                self._libc.umount2(str(place).encode(), 2)
        shutil.rmtree(self.folder, ignore_errors=True)

    def apply(self) -> None:
        """Put the layers on this process, for good. OSError when one that was promised does not take."""
        os.setpgid(0, 0)
        if self.writable:
            os.chdir(self.work)
        self._limits()
        if self._libc is None:
            return
        self._call(self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
        if self.taken("privileges"):
            self._call(self._libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
            self._drop_capabilities()
        if self.taken("landlock"):
            self._call(self._libc.syscall(_RESTRICT, self._ruleset, 0))
        # Nobody of the same user may look into this process, nor it into itself through /proc.
        self._call(self._libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0))
        if self.taken("seccomp"):
            program = ctypes.create_string_buffer(self._filter, len(self._filter))
            count = len(self._filter) // 8
            header = struct.pack("HxxxxxxP", count, ctypes.addressof(program))
            self._call(self._libc.prctl(_PR_SET_SECCOMP, 2, ctypes.c_char_p(header), 0, 0))

    # -- namespaces

    def _unshare(self) -> str:
        uid, gid = os.geteuid(), os.getegid()
        taken = []
        if self._libc.unshare(_NEW["user"] | sum(_NEW[name] for name in ("net", "ipc", "uts", "mount"))) != 0:
            raise OSError(ctypes.get_errno(), f"the kernel refuses: {os.strerror(ctypes.get_errno())}")
        Path("/proc/self/setgroups").write_text("deny", "ascii")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1", "ascii")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1", "ascii")
        taken += ["user", "net", "ipc", "uts", "mount"]
        self._libc.mount(None, b"/", None, 1 << 14 | 1 << 18, None)  # private: nothing of it is seen outside
        try:
            # Two: the outer one stands for all children, whose own ones are mounted in it, each in its turn.
            self._mount(self.folder, 1 << 16)
            self.work.mkdir()
            self._call(self._libc.mount(None, str(self.folder).encode(), None, 32 | 1 | 2 | 4 | 8, None))
            self._mount(self.work, FOLDER)
            self.writable = True
        except OSError as error:
            taken.append(f"nothing can be written ({error.strerror})")
        return ", ".join(taken)

    def _mount(self, target: Path, size: int) -> None:
        data = f"size={size},nr_inodes=2000,mode=700".encode()
        self._call(self._libc.mount(b"tmpfs", str(target).encode(), b"tmpfs", 2 | 4 | 8, data))

    # -- Landlock

    def _prepare_landlock(self, roots: list[Path], *, allow_answers: bool) -> str:
        abi = self._libc.syscall(_CREATE, None, 0, 1)
        if abi < 1:
            raise OSError(errno.ENOSYS, "the kernel has none (Linux 5.13 and later, when it is switched on)")
        files = _FILES[max(version for version in _FILES if version <= abi)]
        net = 3 if abi >= 4 else 0
        scoped = 3 if abi >= 6 else 0
        rules = struct.pack("QQQ", files, net, scoped)[: 8 if abi < 4 else 16 if abi < 6 else 24]
        self._ruleset = self._call(self._libc.syscall(_CREATE, rules, len(rules), 0))
        os.set_inheritable(self._ruleset, False)
        for path in readable(roots, allow_answers=allow_answers):
            self._allow(path, _READ & files)
        if self.writable:
            self._allow(self.folder, files & ~1)
        return f"ABI {abi}"

    def _allow(self, path: Path, rights: int) -> None:
        try:
            place = os.open(path, getattr(os, "O_PATH", 0) | os.O_CLOEXEC)
        except OSError:
            return
        try:
            if not path.is_dir():
                rights &= 1 << 0 | 1 << 1 | 1 << 2  # of a file: execute, write, read
            rule = struct.pack("=Qi", rights, place)
            self._call(self._libc.syscall(_ADD, self._ruleset, 1, rule, 0))
        finally:
            os.close(place)

    # -- seccomp

    def _prepare_seccomp(self) -> str:
        import pyseccomp

        refuse = pyseccomp.ERRNO(errno.EPERM)
        rules = pyseccomp.SyscallFilter(refuse)
        for name in CALLS:
            try:
                rules.add_rule(pyseccomp.ALLOW, name)
            except OSError:  # not a call of this architecture
                continue
        self._conditions(pyseccomp, rules)
        reader, writer = os.pipe()
        with os.fdopen(reader, "rb") as file:
            with os.fdopen(writer, "wb") as target:
                rules.export_bpf(target)
            self._filter = file.read()
        return f"{len(CALLS)} calls allowed"

    def _conditions(self, seccomp: Any, rules: Any) -> None:
        """The calls that are allowed in one form only."""
        arg, masked = seccomp.Arg, seccomp.MASKED_EQ
        # Threads, but no processes; clone3 hides its flags behind a pointer, and glibc then takes clone.
        rules.add_rule(seccomp.ALLOW, "clone", arg(0, masked, _CLONE_THREAD, _CLONE_THREAD))
        rules.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")
        # asyncio wakes itself through a pair of sockets of one process; there are no others.
        rules.add_rule(seccomp.ALLOW, "socketpair", arg(0, seccomp.EQ, 1))
        for call, module, commands in (("fcntl", fcntl, FCNTL), ("ioctl", termios, IOCTL)):
            for command in commands:
                rules.add_rule(seccomp.ALLOW, call, arg(1, seccomp.EQ, getattr(module, command)))
        # Limits may be read, not set.
        rules.add_rule(seccomp.ALLOW, "prlimit64", arg(2, seccomp.EQ, 0))
        # A thread may be named.
        rules.add_rule(seccomp.ALLOW, "prctl", arg(0, seccomp.EQ, 15))

    # -- the rest

    def _limits(self) -> None:
        for what, value in {
            resource.RLIMIT_AS: self.memory,
            resource.RLIMIT_CPU: self.seconds,
            resource.RLIMIT_FSIZE: FILE,
            resource.RLIMIT_CORE: 0,
            resource.RLIMIT_NOFILE: 128,
        }.items():
            hard = resource.getrlimit(what)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)  # noqa: PLW2901
            # At the hard limit of CPU time the kernel kills without a word; at the soft one it says why.
            last = value + 1 if what == resource.RLIMIT_CPU and value != hard else value
            resource.setrlimit(what, (value, last))

    def _drop_capabilities(self) -> None:
        for capability in range(64):
            if self._libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
                break
        header = struct.pack("=Ii", 0x2008_0522, 0)
        self._call(self._libc.capset(header, b"\0" * 24))

    def _call(self, result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result


def readable(roots: Iterable[Path], *, allow_answers: bool) -> list[Path]:
    """What a submission may read: Python and its packages, the system's libraries, and of ours no answers."""
    paths = sysconfig.get_paths()
    bases = {Path(paths[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    bases |= {Path(sys.base_prefix) / "lib", Path(os.__file__).parent}
    system = ["/usr/lib", "/lib", "/lib64", "/usr/share/zoneinfo", "/usr/local/lib", "/etc/ld.so.cache"]
    bases |= {Path(name) for name in (*system, "/dev/null", "/dev/urandom", "/dev/zero", "/etc/localtime")}
    hidden = set()
    for root in roots:
        bases.add(root / "svmlib")
        hidden |= {root / name for name in OTHERS}
        for name in () if allow_answers else ANSWERS:
            place = root.joinpath(*name.split("."))
            # What Python has compiled of a module lies beside it.
            compiled = (place.parent / "__pycache__").glob(f"{place.name}.*")
            hidden |= {place, place.with_suffix(".py"), *compiled}
    found = _without({path.resolve() for path in bases if path.exists()}, {path.resolve() for path in hidden})
    return sorted(found)


def _without(bases: Iterable[Path], hidden: set[Path]) -> set[Path]:
    """The places themselves, or what lies in them beside the hidden ones."""
    found = set()
    for base in bases:
        if base in hidden:
            continue
        if any(path.is_relative_to(base) for path in hidden):
            found |= _without(base.iterdir(), hidden) if base.is_dir() else set()
        else:
            found.add(base)
    return found
