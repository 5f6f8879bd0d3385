"""SVM was turned off with GIF clear: from then on no NMI and no INIT reaches the CPU."""

from ..faults import Fault
from ..instructions import Cpu
from ..kvm.hosts import host
from ..kvm.machine import Machine
from ..paths import vmload_before_stgi
from ..processor import EFER_SVME
from ..registers import MSR


def _disabled(*, force_gif: bool) -> str:
    """Disable SVM on a CPU that was in a run path, then send it an NMI."""
    machine = Machine(vmload_before_stgi, host("zen3", vcpus=1))
    p, cpu = machine.processors[0], machine.cpus[0]
    cpu.clgi()
    if force_gif:
        cpu.stgi()
    cpu.wrmsr(MSR.EFER, cpu.rdmsr(MSR.EFER) & ~EFER_SVME)
    p.pending.append("NMI")
    _until_something_happens(cpu)
    return (
        "The CPU takes no NMI any more: GIF is clear, and without SVME no STGI can set it."
        if p.pending
        else ""
    )


def _until_something_happens(cpu: Cpu) -> None:
    for _ in range(8):
        try:
            cpu.stgi()
        except Fault:
            cpu.str()


def BROKEN() -> str:  # noqa: N802 - the name that every scenario has
    """Clear SVME at once."""
    return _disabled(force_gif=False)


def FIXED() -> str:  # noqa: N802
    """Force GIF to 1 before."""
    return _disabled(force_gif=True)
