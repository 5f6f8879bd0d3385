"""Xen's HVM guests: the guest's state stays loaded from exit to exit; the host's comes back to switch away.

Xen finds its data by the stack pointer, so a guest's GS does no harm; a guest's TR would, so the IDT names no
interrupt stacks meanwhile.  The host's half lies in a page of its own, host_vmcb, stored once when the CPU
came up.  Whether the VMCB has the guest's latest state is a tri-state (xen-svm, xen-sync).  An exit to user
space is here a switch to the PV vCPU whose device model emulates; its segments come by load_segments().
"""

from ..instructions import Cpu
from ..kvm.entry import DF_IST, DOUBLE_FAULT, MACHINE_CHECK, MC_IST, NMI, NMI_IST
from ..kvm.kernels.xen import load_segments
from ..kvm.percpu import this_cpu_read
from ..kvm.vcpu import Vcpu
from ..kvm.vmenter import LDT_SELECTOR
from ..registers import MSR

CARRIES = ("TSC_AUX",)
#: vmcb_sync_state: VMCB and registers agree; VMSAVE is needed; VMLOAD is needed, which is how a vCPU begins.
IN_SYNC, NEEDS_VMSAVE, NEEDS_VMLOAD = range(3)
#: Offset of the byte with the IST in a gate of the IDT, and the vectors that have one.
_IST_AT = 4
_IST = {DOUBLE_FAULT: DF_IST, NMI: NMI_IST, MACHINE_CHECK: MC_IST}


def vcpu_load(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_ctxt_switch_to(): no interrupt stacks while a guest's TR may be loaded; the guest's TSC_AUX.

    DS, ES and SS become null first: a selector of the PV guest's that its descriptor does not bear out any
    more would be fatal at #VMEXIT, when the CPU may read it again (B25).
    """
    for register in ("DS", "ES", "SS"):
        cpu.mov_to_sreg(register, 0)
    disable_each_ist(cpu)
    cpu.wrmsr(MSR.TSC_AUX, vcpu.tsc_aux)


def prepare_switch_to_guest(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_vmenter_helper(): bring the guest's state into the registers, if it is not there."""
    svm_sync_vmcb(cpu, vcpu, NEEDS_VMSAVE)


def vcpu_enter_exit(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_asm_do_resume: VMRUN, and nothing else; an interrupt may come right at STGI."""
    vmcb_pa = vcpu.vmcb_pa
    cpu.sti()
    cpu.vmrun(vmcb_pa)


def prepare_host_switch(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_ctxt_switch_from(), then what the PV vCPU that comes needs."""
    svm_ctxt_switch_from(cpu, vcpu)
    load_segments(cpu, this_cpu_read(cpu, "current_task"), LDT_SELECTOR)


def svm_ctxt_switch_from(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_ctxt_switch_from(): the guest's state to its VMCB, the host's out of host_vmcb; ISTs again."""
    svm_sync_vmcb(cpu, vcpu, NEEDS_VMLOAD)
    cpu.vmload(this_cpu_read(cpu, "host_vmcb"))
    enable_each_ist(cpu)


def svm_sync_vmcb(cpu: Cpu, vcpu: Vcpu, new_state: int) -> None:
    """svm_sync_vmcb(): VMLOAD or VMSAVE where the state says so, and the new state."""
    state = getattr(vcpu, "vmcb_sync_state", NEEDS_VMLOAD)
    if new_state == NEEDS_VMSAVE and state == NEEDS_VMLOAD:
        cpu.vmload(vcpu.vmcb_pa)
    elif new_state != NEEDS_VMSAVE and state == NEEDS_VMSAVE:
        cpu.vmsave(vcpu.vmcb_pa)
    if new_state != state:
        vcpu.vmcb_sync_state = new_state


def disable_each_ist(cpu: Cpu) -> None:
    """disable_each_ist(): #DF, NMI and #MC on the stack in use."""
    idt = this_cpu_read(cpu, "idt")
    for vector in _IST:
        cpu.store(idt + 16 * vector + _IST_AT, 0, 1)


def enable_each_ist(cpu: Cpu) -> None:
    """enable_each_ist(): the interrupt stacks again, since TR is the host's."""
    idt = this_cpu_read(cpu, "idt")
    for vector, ist in _IST.items():
        cpu.store(idt + 16 * vector + _IST_AT, ist, 1)
