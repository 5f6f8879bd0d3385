"""Option 1, the path that was merged: VMLOAD brings the whole host back right after every exit, before STGI.

Linux 5.12 (commit-e79b91bb3c91, commit-a7fc06dd2f14).  The module is the form of 2021, which still reloaded
TR by LTR on every exit; `since_2023` leaves that out, because VMLOAD has restored TR already
(commit-0d3518d2f8c3).
"""

from types import SimpleNamespace

from ..instructions import Cpu
from ..kvm.percpu import per_cpu
from ..kvm.vcpu import Vcpu
from ..kvm.vmenter import reload_tss, svm_vcpu_run
from ..registers import MSR


def prepare_switch_to_guest(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_prepare_guest_switch(): save the host with one VMSAVE, once until the vCPU is put."""
    if vcpu.guest_state_loaded:
        return
    cpu.vmsave(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
    vcpu.host_tsc_aux = cpu.rdmsr(MSR.TSC_AUX)
    vcpu.guest_state_loaded = True


def _enter_exit(cpu: Cpu, vcpu: Vcpu) -> None:
    # The address is fetched before VMRUN: between the guest's VMLOAD and the host's there is no per-CPU data.
    save_area_pa = per_cpu(cpu, vcpu.cpu, "save_area_pa")
    svm_vcpu_run(cpu, vcpu)
    cpu.vmload(save_area_pa)


def vcpu_enter_exit(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_vcpu_enter_exit(): run the guest, VMLOAD the host's page, and reload_tss() as it still was done."""
    _enter_exit(cpu, vcpu)
    reload_tss(cpu, vcpu)


def prepare_host_switch(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_prepare_host_switch(): only TSC_AUX is left, which is not in VMLOAD's set."""
    cpu.wrmsr(MSR.TSC_AUX, vcpu.host_tsc_aux)
    vcpu.guest_state_loaded = False


#: The same path without reload_tss().
since_2023 = SimpleNamespace(
    __name__="vmload_before_stgi.since_2023",
    prepare_switch_to_guest=prepare_switch_to_guest,
    vcpu_enter_exit=_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
