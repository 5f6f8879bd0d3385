"""The host kernels: how each finds its per-CPU data, takes what arrives, and goes to user space and back.

linux    64-bit Linux, with or without FSGSBASE in use
i386     32-bit Linux: per-CPU data through FS, no SWAPGS, no interrupt stacks
fred     64-bit Linux where CR4.FRED is set
xen      Xen: per-CPU data by the stack pointer, an IDT for each CPU
freebsd  FreeBSD, for bhyve
netbsd   NetBSD, for NVMM

A kernel keeps no state of its own: all is in registers and in memory.
"""

from .fred import Fred
from .freebsd import FreeBSD
from .i386 import I386
from .linux import Linux
from .netbsd import NetBSD
from .xen import Xen

#: The kernels by the name that Host.kernel holds.
KERNELS: dict[str, Linux] = {
    kernel.name: kernel for kernel in (Linux(), I386(), Fred(), Xen(), FreeBSD(), NetBSD())
}


def of(name: str) -> Linux:
    """Return the kernel `name`; KeyError lists those there are."""
    if name not in KERNELS:
        raise KeyError(f"no host kernel {name!r}; there are {', '.join(KERNELS)}")
    return KERNELS[name]
