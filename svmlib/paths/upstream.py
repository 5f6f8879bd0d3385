"""Upstream since late 2022: VMLOAD of the host in assembly, its address on the stack, SPEC_CTRL after it.

The C form had let RET and reads of per-CPU data come before the host's VMLOAD (B09).  Now the page's physical
address is kept for each CPU and pushed while GS is still the host's, and SPEC_CTRL, which the host finds in
per-CPU data, is restored behind the VMLOAD (commit-e287bd005ad9, commit-9f2febf3f04d).  TSC_AUX is a
user-return MSR.  reload_tss() was still there; it went in 2023.  `since_2025` is the form of March 2025.
"""

from types import SimpleNamespace

from ..instructions import Cpu
from ..kvm.percpu import per_cpu, this_cpu_read
from ..kvm.svm_ops import vmload, vmrun, vmsave
from ..kvm.user_return import kvm_on_user_return, kvm_set_user_return_msr
from ..kvm.vcpu import Vcpu
from ..kvm.vmenter import reload_tss
from ..registers import MSR

#: What this path swaps itself beyond VMSAVE's set.
CARRIES = ("TSC_AUX", "SPEC_CTRL")


def prepare_switch_to_guest(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_prepare_switch_to_guest(): one VMSAVE, once until the vCPU is put; the guest's TSC_AUX."""
    if vcpu.guest_state_loaded:
        return
    vmsave(cpu, per_cpu(cpu, vcpu.cpu, "save_area_pa"))
    kvm_set_user_return_msr(cpu, vcpu.tsc_aux)
    vcpu.guest_state_loaded = True


def vcpu_enter_exit(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_vcpu_enter_exit(): the assembly, then reload_tss(), before STGI."""
    __svm_vcpu_run(cpu, vcpu)
    reload_tss(cpu, vcpu)


def _enter_exit_since_2025(cpu: Cpu, vcpu: Vcpu) -> None:
    # Not in assembly right before VMRUN: STI's shadow would leak into the guest (B18, linux-svm-c-2025).
    cpu.sti()
    save_area_pa = this_cpu_read(cpu, "save_area_pa")
    restore_guest_spec_ctrl(cpu, vcpu)
    vmcb01_pa, vmcb_pa = vcpu.vmcb01_pa, vcpu.vmcb_pa
    vmload(cpu, vmcb01_pa)
    vmrun(cpu, vmcb_pa)
    vmsave(cpu, vmcb01_pa)
    vmload(cpu, save_area_pa)
    restore_host_spec_ctrl(cpu, vcpu)
    cpu.cli()


def __svm_vcpu_run(cpu: Cpu, vcpu: Vcpu) -> None:
    save_area_pa = this_cpu_read(
        cpu, "save_area_pa"
    )  # pushed: after the next VMLOAD there is no per-CPU data
    restore_guest_spec_ctrl(cpu, vcpu)
    # A nested guest's VMCB is another, but VMSAVE's set is always in vmcb01 (commit-cc3ed80ae69f).
    vmcb01_pa, vmcb_pa = vcpu.vmcb01_pa, vcpu.vmcb_pa
    vmload(cpu, vmcb01_pa)
    cpu.sti()
    vmrun(cpu, vmcb_pa)
    cpu.cli()
    vmsave(cpu, vmcb01_pa)
    vmload(cpu, save_area_pa)
    restore_host_spec_ctrl(cpu, vcpu)


def restore_guest_spec_ctrl(cpu: Cpu, vcpu: Vcpu) -> None:
    """RESTORE_GUEST_SPEC_CTRL: written only where the host has another; the host's is per-CPU data."""
    if this_cpu_read(cpu, "spec_ctrl") != vcpu.spec_ctrl:
        cpu.wrmsr(MSR.SPEC_CTRL, vcpu.spec_ctrl)


def restore_host_spec_ctrl(cpu: Cpu, vcpu: Vcpu) -> None:
    """RESTORE_HOST_SPEC_CTRL: keep the guest's, and write the host's out of per-CPU data where it differs."""
    vcpu.spec_ctrl = cpu.rdmsr(MSR.SPEC_CTRL)
    host = this_cpu_read(cpu, "spec_ctrl")
    if host != vcpu.spec_ctrl:
        cpu.wrmsr(MSR.SPEC_CTRL, host)


def prepare_host_switch(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_prepare_host_switch(): nothing is left to restore."""
    vcpu.guest_state_loaded = False


def on_user_return(cpu: Cpu, vcpu: Vcpu) -> None:
    """kvm_on_user_return(): the host's TSC_AUX, on this CPU's next way to user space."""
    kvm_on_user_return(cpu)


#: The same since March 2025: IF set and cleared in C, and TR left to VMLOAD.
since_2025 = SimpleNamespace(
    __name__="upstream.since_2025",
    CARRIES=CARRIES,
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=_enter_exit_since_2025,
    prepare_host_switch=prepare_host_switch,
    on_user_return=on_user_return,
)
