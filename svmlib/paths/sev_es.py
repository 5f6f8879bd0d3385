"""SEV-ES: #VMEXIT loads all of the host from its save page, so the host has to fill the page before VMRUN.

VMSAVE fills in what VMLOAD would bring, software the rest of type B; after the exit GS is the host's at once,
and VMLOAD is left away (linux-sev-c-2025, linux-vmenter-2024).  The same KVM runs other guests, too, as
`upstream` does.  What TSC_AUX is to be loaded is what the register holds, not the host's
(commit-29da8c823abf).
"""

from ..instructions import Cpu
from ..instructions.sev_es import HOST_AREA, ROWS
from ..kvm.percpu import per_cpu
from ..kvm.svm_ops import vmload, vmrun, vmsave
from ..kvm.user_return import kvm_get_user_return_msr, kvm_set_user_return_msr
from ..kvm.vcpu import Vcpu, static_cpu_has
from ..registers import MSR
from .upstream import on_user_return, prepare_host_switch

__all__ = ["CARRIES", "on_user_return", "prepare_host_switch", "prepare_switch_to_guest", "vcpu_enter_exit"]

CARRIES = ("TSC_AUX",)
#: Offsets in the save area.
_AT = {row.name: row.offset for row in ROWS}
#: The registers that a function has to leave as they were: __svm_sev_es_vcpu_run() stores them itself.
CALLEE_SAVED = ("RBX", "RBP", "R12", "R13", "R14", "R15")


def prepare_switch_to_guest(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_prepare_switch_to_guest(): VMSAVE, type B for an SEV-ES guest, TSC_AUX unless hardware does."""
    if vcpu.guest_state_loaded:
        return
    vmsave(cpu, per_cpu(cpu, vcpu.cpu, "save_area_pa"))
    sev_es_guest = vcpu.sev_es
    if sev_es_guest:
        sev_es_prepare_switch_to_guest(cpu, vcpu, sev_es_host_save_area(cpu, vcpu))
    if not (sev_es_guest and static_cpu_has(vcpu, "V_TSC_AUX")):
        kvm_set_user_return_msr(cpu, vcpu.tsc_aux)
    vcpu.guest_state_loaded = True


def sev_es_host_save_area(cpu: Cpu, vcpu: Vcpu) -> int:
    """sev_es_host_save_area(): where the save area lies in this CPU's host save page."""
    return per_cpu(cpu, vcpu.cpu, "save_area") + HOST_AREA


def sev_es_prepare_switch_to_guest(cpu: Cpu, vcpu: Vcpu, hostsa: int) -> None:
    """sev_es_prepare_switch_to_guest(): type B that VMSAVE does not store.

    The debug registers' masks always where the CPU can swap them: a guest may ask for it behind KVM's back.
    """
    cpu.store(hostsa + _AT["XCR0"], cpu.xgetbv())
    cpu.store(hostsa + _AT["PKRU"], cpu.rdpkru(), 4)
    cpu.store(hostsa + _AT["XSS"], cpu.rdmsr(MSR.XSS))
    if static_cpu_has(vcpu, "DEBUG_SWAP"):
        for n, mask in enumerate(
            (MSR.DR0_ADDR_MASK, MSR.DR1_ADDR_MASK, MSR.DR2_ADDR_MASK, MSR.DR3_ADDR_MASK)
        ):
            cpu.store(hostsa + _AT[f"DR{n}"], cpu.mov_from_dr(n))
            cpu.store(hostsa + _AT[f"DR{n}_ADDR_MASK"], cpu.rdmsr(mask))
    if static_cpu_has(vcpu, "V_TSC_AUX"):
        cpu.store(hostsa + _AT["TSC_AUX"], kvm_get_user_return_msr(cpu), 4)


def vcpu_enter_exit(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_vcpu_enter_exit(): which of the two assemblies, the guest decides."""
    if vcpu.sev_es:
        cpu.sti()
        __svm_sev_es_vcpu_run(cpu, vcpu.vmcb_pa, sev_es_host_save_area(cpu, vcpu))
        cpu.cli()
    else:
        upstream_run(cpu, vcpu)


def __svm_sev_es_vcpu_run(cpu: Cpu, vmcb_pa: int, hostsa: int) -> None:
    for register in CALLEE_SAVED:
        cpu.store_register(hostsa + _AT[register], register)
    vmrun(cpu, vmcb_pa)


def upstream_run(cpu: Cpu, vcpu: Vcpu) -> None:
    """__svm_vcpu_run(), as it is since 2023: without reload_tss(), and here without SPEC_CTRL."""
    vmcb01_pa, vmcb_pa = vcpu.vmcb01_pa, vcpu.vmcb_pa
    save_area_pa = per_cpu(cpu, vcpu.cpu, "save_area_pa")
    cpu.sti()
    vmload(cpu, vmcb01_pa)
    vmrun(cpu, vmcb_pa)
    vmsave(cpu, vmcb01_pa)
    vmload(cpu, save_area_pa)
    cpu.cli()
