"""The legacy path: every register that VMRUN leaves alone is saved and restored on its own, MSR by MSR.

KVM until Linux 5.12 (linux-svm-c-2021).  Each function models the one of KVM that its docstring names; what
32-bit hosts do otherwise is from memory (linux-i386).
"""

from ..instructions import Cpu
from ..kvm.host import THREAD_GSBASE
from ..kvm.percpu import this_cpu_read
from ..kvm.vcpu import Vcpu, static_cpu_has
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


def _host_save_user_msrs(vcpu: Vcpu) -> tuple[int, ...]:
    """Return the list as it is compiled: a 32-bit kernel has none of the six of long mode."""
    return HOST_SAVE_USER_MSRS if static_cpu_has(vcpu, "X86_64") else HOST_SAVE_USER_MSRS[6:]


def vcpu_load(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_vcpu_load(): GS base, selectors, LDT, then the list of MSRs."""
    if static_cpu_has(vcpu, "X86_64"):
        vcpu.host_gs_base = cpu.rdmsr(MSR.GS_BASE)
    vcpu.host_fs = cpu.mov_from_sreg("FS")
    vcpu.host_gs = cpu.mov_from_sreg("GS")
    vcpu.host_ldt = cpu.sldt()
    vcpu.host_user_msrs = [cpu.rdmsr(msr) for msr in _host_save_user_msrs(vcpu)]


def prepare_switch_to_guest(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_prepare_guest_switch(): nothing is left to do; vcpu_load has saved the host."""


def vcpu_enter_exit(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_vcpu_enter_exit(): GS base and TR are the host's again before STGI; the rest stays the guest's."""
    svm_vcpu_run(cpu, vcpu)
    if static_cpu_has(vcpu, "X86_64"):
        cpu.wrmsr(MSR.GS_BASE, vcpu.host_gs_base)
    else:
        cpu.mov_to_sreg("FS", vcpu.host_fs)
    reload_tss(cpu, vcpu)


def prepare_host_switch(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_vcpu_put(): the LDT first, selectors may point into it; the MSRs last, selectors set bases."""
    cpu.lldt(vcpu.host_ldt)
    if static_cpu_has(vcpu, "X86_64"):
        cpu.mov_to_sreg("FS", vcpu.host_fs)
        # Overwritten by load_gs_index and again by the loop below; KVM had it, and so its bill has it.
        cpu.wrmsr(MSR.KERNEL_GS_BASE, cpu.load(this_cpu_read(cpu, "current_task") + THREAD_GSBASE))
        load_gs_index(cpu, vcpu.host_gs)
    else:
        cpu.mov_to_sreg("GS", vcpu.host_gs)
    for msr, value in zip(_host_save_user_msrs(vcpu), vcpu.host_user_msrs, strict=True):
        cpu.wrmsr(msr, value)
