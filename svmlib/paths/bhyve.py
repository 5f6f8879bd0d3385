"""bhyve, FreeBSD's: no page for the host; each register comes back by its own instruction, or not at all.

GS.base right after the guest's VMSAVE, from a pointer that the caller passed; then TR and LDTR, before STGI.
The SYSCALL MSRs, which are alike on every CPU, when the loop ends.  FS and the user's GS base are the
kernel's affair on its way to user space, the SYSENTER MSRs nobody's (bhyve-svm).
"""

from ..instructions import Cpu
from ..kvm.percpu import cpu_kernelmode_gs_base, this_cpu_read
from ..kvm.vcpu import Vcpu
from ..kvm.vmenter import TSS_SELECTOR
from ..registers import MSR

#: host_msrs[], in the order in which they are put back.
HOST_MSRS = (MSR.LSTAR, MSR.CSTAR, MSR.STAR, MSR.SFMASK)
#: Offset of a descriptor's type, and SDT_SYSTSS with DPL 0, present.
_TYPE, _SYSTSS = 5, 0x89


def vcpu_load(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_msr_init(): read the host's MSRs, once; they do not depend on CPU or thread."""
    if not getattr(vcpu, "host_msrs", ()):
        vcpu.host_msrs = [cpu.rdmsr(msr) for msr in HOST_MSRS]


def prepare_switch_to_guest(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_msr_guest_enter(): nothing."""


def vcpu_enter_exit(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_run(), from disable_gintr() to enable_gintr()."""
    ldt_sel = cpu.sldt()
    svm_launch(cpu, vcpu.vmcb_pa, cpu_kernelmode_gs_base(cpu, vcpu.cpu))
    restore_host_tss(cpu)
    cpu.lldt(ldt_sel)


def svm_launch(cpu: Cpu, vmcb_pa: int, pcpu: int) -> None:
    """svm_launch(): the guest, and GS.base from the pointer on the stack: per-CPU data are needed next."""
    cpu.vmload(vmcb_pa)
    cpu.vmrun(vmcb_pa)
    cpu.vmsave(vmcb_pa)
    cpu.wrmsr(MSR.GS_BASE, pcpu)


def restore_host_tss(cpu: Cpu) -> None:
    """restore_host_tss(): make this CPU's TSS available, and load it."""
    tss_sd = this_cpu_read(cpu, "tss_desc")
    cpu.store(tss_sd + _TYPE, _SYSTSS, 1)
    cpu.ltr(TSS_SELECTOR)


def prepare_host_switch(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_msr_guest_exit(): the SYSCALL MSRs."""
    for msr, value in zip(HOST_MSRS, vcpu.host_msrs, strict=True):
        cpu.wrmsr(msr, value)
