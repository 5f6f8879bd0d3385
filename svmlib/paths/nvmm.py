"""NVMM, NetBSD's: everything on the stack around VMRUN, under CLGI, and the SYSCALL MSRs when the loop ends.

Saved before every run: TR, KernelGSBase, GS and FS base, LDT; FS and GS are made null first, so their
selectors need no descriptors on the way back.  From then on there is no per-CPU data; the busy bit of the TSS
can be cleared at last because GS.base has come back two lines above (nvmm-svm, nvmm-misc, B28).
"""

from ..instructions import Cpu
from ..kvm.percpu import this_cpu_read
from ..kvm.vcpu import Vcpu
from ..registers import MSR

#: svm_global_hstate, in the order in which it is put back.
HOST_MSRS = (MSR.STAR, MSR.LSTAR, MSR.CSTAR, MSR.SFMASK)
#: The byte of a TSS descriptor that has the busy bit, and that bit.
_TYPE, _BUSY = 5, 0x02


def vcpu_load(cpu: Cpu, vcpu: Vcpu) -> None:
    """Read the host's SYSCALL MSRs, once: they are alike on every CPU."""
    if not getattr(vcpu, "hstate", ()):
        vcpu.hstate = [cpu.rdmsr(msr) for msr in HOST_MSRS]


def prepare_switch_to_guest(cpu: Cpu, vcpu: Vcpu) -> None:
    """Nothing: all is done around VMRUN."""


def vcpu_enter_exit(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_vmrun(): what is pushed, the guest, and the pops in reverse."""
    vmcb_pa = vcpu.vmcb_pa
    tr = cpu.str()
    bases = [cpu.rdmsr(msr) for msr in (MSR.KERNEL_GS_BASE, MSR.GS_BASE, MSR.FS_BASE)]
    cpu.mov_to_sreg("FS", 0)
    cpu.mov_to_sreg("GS", 0)
    fs, gs = cpu.mov_from_sreg("FS"), cpu.mov_from_sreg("GS")
    ldt = cpu.sldt()
    cpu.vmload(vmcb_pa)
    cpu.vmrun(vmcb_pa)
    cpu.vmsave(vmcb_pa)
    cpu.lldt(ldt)
    cpu.mov_to_sreg("GS", gs)
    cpu.mov_to_sreg("FS", fs)
    for msr in (MSR.FS_BASE, MSR.GS_BASE, MSR.KERNEL_GS_BASE):
        cpu.wrmsr(msr, bases.pop())
    restore_tr(cpu, tr)


def restore_tr(cpu: Cpu, selector: int) -> None:
    """HOST_RESTORE_TR: clear the busy bit in this CPU's GDT, and load TR."""
    at = this_cpu_read(cpu, "tss_desc") + _TYPE
    cpu.store(at, cpu.load(at, 1) & ~_BUSY, 1)
    cpu.ltr(selector)


def prepare_host_switch(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_vcpu_guest_misc_leave(): the SYSCALL MSRs."""
    for msr, value in zip(HOST_MSRS, vcpu.hstate, strict=True):
        cpu.wrmsr(msr, value)
