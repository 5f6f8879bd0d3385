"""The legacy path: every register that VMRUN leaves alone is saved and restored on its own, MSR by MSR.

KVM on 64-bit hosts until Linux 5.12 (linux-svm-c-2021).  Each function models the one of KVM that its
docstring names.
"""

from ..instructions import Cpu
from ..kvm.host import THREAD_GSBASE
from ..kvm.percpu import this_cpu_read
from ..kvm.vcpu import Vcpu
from ..kvm.vmenter import load_gs_index, reload_tss, svm_vcpu_run
from ..registers import MSR

#: host_save_user_msrs[] of 2020, in its order.
HOST_SAVE_USER_MSRS = (
    MSR.STAR,
    MSR.LSTAR,
    MSR.CSTAR,
    MSR.SFMASK,
    MSR.KERNEL_GS_BASE,
    MSR.FS_BASE,
    MSR.SYSENTER_CS,
    MSR.SYSENTER_ESP,
    MSR.SYSENTER_EIP,
    MSR.TSC_AUX,
)


def vcpu_load(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_vcpu_load(): GS base, selectors, LDT, then the list of MSRs."""
    vcpu.host_gs_base = cpu.rdmsr(MSR.GS_BASE)
    vcpu.host_fs = cpu.mov_from_sreg("FS")
    vcpu.host_gs = cpu.mov_from_sreg("GS")
    vcpu.host_ldt = cpu.sldt()
    vcpu.host_user_msrs = [cpu.rdmsr(msr) for msr in HOST_SAVE_USER_MSRS]


def prepare_switch_to_guest(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_prepare_guest_switch(): nothing is left to do; vcpu_load has saved the host."""


def vcpu_enter_exit(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_vcpu_enter_exit(): GS base and TR are the host's again before STGI; the rest stays the guest's."""
    svm_vcpu_run(cpu, vcpu)
    cpu.wrmsr(MSR.GS_BASE, vcpu.host_gs_base)
    reload_tss(cpu, vcpu)


def prepare_host_switch(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_vcpu_put(): the LDT first, selectors may point into it; the MSRs last, selectors set bases."""
    cpu.lldt(vcpu.host_ldt)
    cpu.mov_to_sreg("FS", vcpu.host_fs)
    # Overwritten by load_gs_index and again by the loop below; KVM had it, and so its bill has it.
    cpu.wrmsr(MSR.KERNEL_GS_BASE, cpu.load(this_cpu_read(cpu, "current_task") + THREAD_GSBASE))
    load_gs_index(cpu, vcpu.host_gs)
    for msr, value in zip(HOST_SAVE_USER_MSRS, vcpu.host_user_msrs, strict=True):
        cpu.wrmsr(msr, value)
