"""SVM instructions with an entry in the exception table: on a rebooting host their #UD is expected.

An emergency reboot clears EFER.SVME on every CPU by an interrupt, while vCPU threads still run
(linux-svm-ops). The instruction that then faults is passed over, and soon the CPU is gone; the model stops
the thread there. Where the instruction stands alone, the #UD is an oops (B05).
"""

from ..faults import Fault
from ..instructions import Cpu

#: Where kvm_rebooting lies, counted from the kernel's map of memory; the number is ours.
KVM_REBOOTING = 0x23F_F000
#: Linux's interrupt by which a rebooting CPU stops the others.
REBOOT_VECTOR = 0xF8


class Rebooting(Exception):
    """The host reboots, and this thread gets no further; nothing is wrong with it."""


def vmsave(cpu: Cpu, pa: int) -> None:
    """vmsave(): VMSAVE; `pa` is an unsigned long, since a 32-bit kernel's instruction takes EAX (B06)."""
    try:
        cpu.vmsave(pa)
    except Fault as fault:
        raise _spurious(cpu, fault) from None


def vmload(cpu: Cpu, pa: int) -> None:
    """vmload(): VMLOAD, likewise."""
    try:
        cpu.vmload(pa)
    except Fault as fault:
        raise _spurious(cpu, fault) from None


def vmrun(cpu: Cpu, pa: int) -> None:
    """VMRUN in vmenter.S, likewise."""
    try:
        cpu.vmrun(pa)
    except Fault as fault:
        raise _spurious(cpu, fault) from None


def clgi(cpu: Cpu) -> None:
    """clgi(): CLGI, likewise."""
    try:
        cpu.clgi()
    except Fault as fault:
        raise _spurious(cpu, fault) from None


def _spurious(cpu: Cpu, fault: Fault) -> Exception:
    """kvm_spurious_fault(): expected while kvm_rebooting, a BUG otherwise."""
    if cpu.load(cpu._processor.memory.direct_map + KVM_REBOOTING, 1):
        return Rebooting()
    return fault
