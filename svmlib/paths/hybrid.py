"""The hybrid path, as first posted on 10 December 2020: VMSAVE saves, WRMSR each exit, VMLOAD on vcpu_put.

The full patch was not at hand; its shape is read from the replies that quote it (mail-roth-v1).
"""

from ..instructions import Cpu
from ..kvm.percpu import per_cpu, phys_to_virt
from ..kvm.vcpu import Vcpu, static_cpu_has
from ..kvm.vmenter import reload_tss, svm_vcpu_run
from ..registers import MSR, REGISTERS


def vcpu_load(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_vcpu_load(): VMSAVE into this CPU's save page, then copy the GS base out of that page."""
    vcpu.host_save_area_pa = per_cpu(cpu, vcpu.cpu, "save_area_pa")
    cpu.vmsave(vcpu.host_save_area_pa)
    hostsa = phys_to_virt(cpu, vcpu.host_save_area_pa)
    if static_cpu_has(vcpu, "X86_64"):
        vcpu.host_gs_base = cpu.load(hostsa + _offset("GS.base"))
    else:
        vcpu.host_fs = cpu.load(hostsa + _offset("FS.selector"), 2)
    vcpu.host_tsc_aux = cpu.rdmsr(MSR.TSC_AUX)


def _offset(register: str) -> int:
    offset = REGISTERS[register].vmcb
    if offset is None:
        raise KeyError(register)
    return offset


def prepare_switch_to_guest(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_prepare_guest_switch(): nothing is left to do; vcpu_load has saved the host."""


def vcpu_enter_exit(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_vcpu_enter_exit(): GS base (FS on 32-bit hosts) from the copy, and TR, before STGI."""
    svm_vcpu_run(cpu, vcpu)
    if static_cpu_has(vcpu, "X86_64"):
        cpu.wrmsr(MSR.GS_BASE, vcpu.host_gs_base)
    else:
        cpu.mov_to_sreg("FS", vcpu.host_fs)
    reload_tss(cpu, vcpu)


def prepare_host_switch(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_vcpu_put(): one VMLOAD for all the rest; TSC_AUX is not in its set."""
    cpu.vmload(vcpu.host_save_area_pa)
    cpu.wrmsr(MSR.TSC_AUX, vcpu.host_tsc_aux)
