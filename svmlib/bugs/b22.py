"""KVM set a nested hypervisor's GIF when that cleared SVME; on the machine GIF does not depend on it."""

from ..kvm.hosts import host
from ..kvm.machine import Machine
from ..paths import vmload_before_stgi
from ..processor import EFER_SVME
from ..registers import MSR


def _against_the_machine(*, sets_gif: bool) -> str:
    """Clear SVME with GIF clear on the machine, and as L0 emulates it for L1."""
    machine = Machine(vmload_before_stgi, host("zen3", vcpus=1))
    p, cpu = machine.processors[0], machine.cpus[0]
    cpu.clgi()
    cpu.wrmsr(MSR.EFER, cpu.rdmsr(MSR.EFER) & ~EFER_SVME)
    emulated = 1 if sets_gif else 0  # svm_set_efer(), with svm_set_gif(svm, true) or without
    if emulated == p.gif:
        return ""
    return "An NMI arrives in the nested hypervisor where on the machine it would wait."


def BROKEN() -> str:  # noqa: N802 - the name that every scenario has
    """Return what L1 notices of svm_set_gif() in svm_set_efer()."""
    return _against_the_machine(sets_gif=True)


def FIXED() -> str:  # noqa: N802
    """Return what it notices without: nothing."""
    return _against_the_machine(sets_gif=False)
