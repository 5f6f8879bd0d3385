"""TSC_AUX as a user-return MSR: the guest's stays until this CPU goes to user space, in whatever thread.

No kernel code reads TSC_AUX, so it need not be right before.  What KVM believes to be in the register is kept
for each CPU, and a value that is there already is not written again (commit-844d69c26d83).  That cache has to
be told of whatever else changes the register (commit-29da8c823abf).
"""

from ..instructions import Cpu
from ..registers import MSR
from .percpu import this_cpu_read, this_cpu_write


def kvm_set_user_return_msr(cpu: Cpu, value: int) -> None:
    """kvm_set_user_return_msr(): load the guest's TSC_AUX, and have the host's put back later."""
    if this_cpu_read(cpu, "user_return_curr") == value:
        return
    cpu.wrmsr(MSR.TSC_AUX, value)
    this_cpu_write(cpu, "user_return_curr", value)
    if not this_cpu_read(cpu, "user_return_registered"):
        this_cpu_write(cpu, "user_return_registered", 1)


def kvm_get_user_return_msr(cpu: Cpu) -> int:
    """kvm_get_user_return_msr(): return what KVM believes TSC_AUX to hold."""
    return this_cpu_read(cpu, "user_return_curr")


def kvm_on_user_return(cpu: Cpu) -> None:
    """kvm_on_user_return(): put the host's TSC_AUX back, if it is not there, and be called no more."""
    if not this_cpu_read(cpu, "user_return_registered"):
        return
    this_cpu_write(cpu, "user_return_registered", 0)
    host = this_cpu_read(cpu, "user_return_host")
    if this_cpu_read(cpu, "user_return_curr") != host:
        cpu.wrmsr(MSR.TSC_AUX, host)
        this_cpu_write(cpu, "user_return_curr", host)
