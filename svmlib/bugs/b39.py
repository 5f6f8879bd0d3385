"""TSC_AUX has 32 bits on AMD: a hypervisor that keeps 64 hands a guest what the register cannot hold."""

from collections.abc import Callable

from ..kvm.hosts import host
from ..kvm.machine import Machine
from ..paths import vmload_before_stgi
from ..registers import MSR

WRITTEN = 0xDEAD_BEEF_0000_0007


def _emulated(keep: Callable[[int], int]) -> str:
    """Write TSC_AUX on the machine and by way of a hypervisor that keeps it; compare what is read back."""
    machine = Machine(vmload_before_stgi, host("zen3", vcpus=1))
    cpu = machine.cpus[0]
    cpu.wrmsr(MSR.TSC_AUX, WRITTEN)
    on_the_machine, kept = cpu.rdmsr(MSR.TSC_AUX), keep(WRITTEN)
    if kept == on_the_machine:
        return ""
    return f"RDMSR of TSC_AUX gives the guest {kept:#x}, where the machine gives {on_the_machine:#x}."


def BROKEN() -> str:  # noqa: N802 - the name that every scenario has
    """svm_set_msr() keeps what was written."""
    return _emulated(lambda value: value)


def FIXED() -> str:  # noqa: N802
    """It drops bits 63:32, as AMD does."""
    return _emulated(lambda value: value & 0xFFFF_FFFF)
