"""Option 2, the path that was measured and not merged: only the GS base before STGI, VMLOAD on vcpu_put.

WRGSBASE where the kernel uses FSGSBASE, WRMSR elsewhere (mail-lutomirski-options); `with_wrmsr` is the same
with WRMSR everywhere.  On 32-bit hosts it is FS that per-CPU data need.  TR is not GS: an NMI after STGI
takes its stack from TR's TSS, so reload_tss() stays.
"""

from types import SimpleNamespace

from ..instructions import Cpu
from ..kvm.percpu import cpu_kernelmode_gs_base, per_cpu
from ..kvm.vcpu import Vcpu, static_cpu_has
from ..kvm.vmenter import KERNEL_PERCPU, reload_tss, svm_vcpu_run
from ..registers import MSR


def prepare_switch_to_guest(cpu: Cpu, vcpu: Vcpu) -> None:
    """Save the host with one VMSAVE, once until the vCPU is put."""
    if vcpu.guest_state_loaded:
        return
    cpu.vmsave(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
    vcpu.host_tsc_aux = cpu.rdmsr(MSR.TSC_AUX)
    vcpu.guest_state_loaded = True


def vcpu_enter_exit(cpu: Cpu, vcpu: Vcpu) -> None:
    """Fetch the kernel's GS base, run the guest, put the base back without looking anything up; then TR."""
    if not static_cpu_has(vcpu, "X86_64"):
        _enter_exit_32(cpu, vcpu)
        return
    gs_base = cpu_kernelmode_gs_base(cpu, vcpu.cpu)
    svm_vcpu_run(cpu, vcpu)
    if static_cpu_has(vcpu, "FSGSBASE"):
        cpu.wrgsbase(gs_base)
    else:
        cpu.wrmsr(MSR.GS_BASE, gs_base)
    reload_tss(cpu, vcpu)


def _enter_exit_32(cpu: Cpu, vcpu: Vcpu) -> None:
    """Run the guest; FS is this CPU's segment again by its selector, which is the same everywhere."""
    svm_vcpu_run(cpu, vcpu)
    cpu.mov_to_sreg("FS", KERNEL_PERCPU)
    reload_tss(cpu, vcpu)


def prepare_host_switch(cpu: Cpu, vcpu: Vcpu) -> None:
    """On the way out of the kernel, or to another thread: VMLOAD for the rest, then TSC_AUX."""
    cpu.vmload(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
    cpu.wrmsr(MSR.TSC_AUX, vcpu.host_tsc_aux)
    vcpu.guest_state_loaded = False


def _enter_exit_with_wrmsr(cpu: Cpu, vcpu: Vcpu) -> None:
    if not static_cpu_has(vcpu, "X86_64"):
        _enter_exit_32(cpu, vcpu)
        return
    gs_base = cpu_kernelmode_gs_base(cpu, vcpu.cpu)
    svm_vcpu_run(cpu, vcpu)
    cpu.wrmsr(MSR.GS_BASE, gs_base)
    reload_tss(cpu, vcpu)


#: The same path for a kernel that does not use FSGSBASE, whatever the CPU has.
with_wrmsr = SimpleNamespace(
    __name__="lazy.with_wrmsr",
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=_enter_exit_with_wrmsr,
    prepare_host_switch=prepare_host_switch,
)
