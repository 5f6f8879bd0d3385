"""Upstream as Debian 12 runs it, Linux 6.1: the host's VMLOAD right after the guest's VMSAVE, in assembly.

Option 1 in the form of commit-e287bd005ad9: the save page's address is pushed before the guest's VMLOAD.  LTR
is still there.  Held against what a real kernel executes (kernel-run).
"""

from ..instructions import Cpu
from ..kvm.percpu import per_cpu, this_cpu_read
from ..kvm.vcpu import Vcpu
from ..kvm.vmenter import reload_tss
from ..registers import MSR


def vcpu_load(cpu: Cpu, vcpu: Vcpu) -> None:
    """kvm_user_return_msr_cpu_online(): read the host's TSC_AUX, once on each CPU.

    Linux does it when the CPU comes up; here it is when the vCPU first gets there.
    """
    known = getattr(vcpu, "user_return_tsc_aux", {})
    if vcpu.cpu not in known:
        vcpu.user_return_tsc_aux = {**known, vcpu.cpu: cpu.rdmsr(MSR.TSC_AUX)}


def prepare_switch_to_guest(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_prepare_switch_to_guest(): save the host with one VMSAVE, once until the vCPU is put."""
    if vcpu.guest_state_loaded:
        return
    cpu.vmsave(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
    vcpu.guest_state_loaded = True


def vcpu_enter_exit(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_vcpu_enter_exit(), with STI and CLI around __svm_vcpu_run(); then reload_tss(), before STGI."""
    cpu.sti()
    __svm_vcpu_run(cpu, vcpu.vmcb_pa)
    cpu.cli()
    reload_tss(cpu, vcpu)


def __svm_vcpu_run(cpu: Cpu, vmcb_pa: int) -> None:
    # Pushed on the stack while GS is still the host's: after the guest's VMLOAD there is no per-CPU data.
    save_area_pa = this_cpu_read(cpu, "save_area_pa")
    cpu.vmload(vmcb_pa)
    cpu.vmrun(vmcb_pa)
    cpu.vmsave(vmcb_pa)
    cpu.vmload(save_area_pa)


def prepare_host_switch(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_prepare_host_switch() has nothing to restore; kvm_on_user_return() puts TSC_AUX back.

    Linux calls that on the way to user space, not when the vCPU is put: no kernel code reads TSC_AUX.
    """
    vcpu.guest_state_loaded = False
    cpu.wrmsr(MSR.TSC_AUX, vcpu.user_return_tsc_aux[vcpu.cpu])
