"""Upstream as Debian 12 runs it, Linux 6.1: the host's VMLOAD right after the guest's VMSAVE, in assembly.

`upstream` on a CPU whose SPEC_CTRL the kernel does not switch, and with STI and CLI in C, which stable
kernels took in 2025.  Held against what a real kernel executes (kernel-run).
"""

from ..instructions import Cpu
from ..kvm.percpu import this_cpu_read
from ..kvm.svm_ops import vmload, vmrun, vmsave
from ..kvm.vcpu import Vcpu
from ..kvm.vmenter import reload_tss
from .upstream import on_user_return, prepare_host_switch, prepare_switch_to_guest

__all__ = ["CARRIES", "on_user_return", "prepare_host_switch", "prepare_switch_to_guest", "vcpu_enter_exit"]

CARRIES = ("TSC_AUX",)


def vcpu_enter_exit(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_vcpu_enter_exit(), with STI and CLI around __svm_vcpu_run(); then reload_tss(), before STGI."""
    cpu.sti()
    __svm_vcpu_run(cpu, vcpu.vmcb01_pa, vcpu.vmcb_pa)
    cpu.cli()
    reload_tss(cpu, vcpu)


def __svm_vcpu_run(cpu: Cpu, vmcb01_pa: int, vmcb_pa: int) -> None:
    # Pushed on the stack while GS is still the host's: after the guest's VMLOAD there is no per-CPU data.
    save_area_pa = this_cpu_read(cpu, "save_area_pa")
    vmload(cpu, vmcb01_pa)
    vmrun(cpu, vmcb_pa)
    vmsave(cpu, vmcb01_pa)
    vmload(cpu, save_area_pa)
