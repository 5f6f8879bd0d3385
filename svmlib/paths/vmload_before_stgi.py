"""Option 1, the path that was merged: VMLOAD brings the whole host back right after every exit, before STGI.

The address of the save page is per-CPU data, and per-CPU data need GS, which is in the page.  Each version
found another way out.  v2 kept a pointer in the vCPU, v3 pushed the address on the stack, and v4, which is
the module and went into Linux 5.12, fetched it into a local before VMRUN (commit-e79b91bb3c91,
commit-a7fc06dd2f14). All reloaded TR by LTR on every exit; `since_2023` leaves that out, because VMLOAD has
restored TR already (commit-0d3518d2f8c3).
"""

from types import SimpleNamespace

from ..instructions import Cpu
from ..kvm.percpu import page_to_phys, per_cpu, sme_page_pa
from ..kvm.svm_ops import vmload, vmsave
from ..kvm.vcpu import Vcpu
from ..kvm.vmenter import reload_tss, svm_vcpu_run
from ..registers import MSR


def prepare_switch_to_guest(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_prepare_guest_switch(): save the host with one VMSAVE, once until the vCPU is put."""
    if vcpu.guest_state_loaded:
        return
    vmsave(cpu, sme_page_pa(cpu, per_cpu(cpu, vcpu.cpu, "save_area")))
    vcpu.host_tsc_aux = cpu.rdmsr(MSR.TSC_AUX)
    vcpu.guest_state_loaded = True


def _enter_exit(cpu: Cpu, vcpu: Vcpu) -> None:
    # The address is fetched before VMRUN: between the guest's VMLOAD and the host's there is no per-CPU data.
    save_area = per_cpu(cpu, vcpu.cpu, "save_area")
    svm_vcpu_run(cpu, vcpu)
    vmload(cpu, sme_page_pa(cpu, save_area))


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


# -- the versions before it


def _v2_vcpu_load(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_vcpu_load() of v2: VMSAVE when the vCPU is loaded, and the page's address in the vCPU."""
    vcpu.host_save_area = per_cpu(cpu, vcpu.cpu, "save_area")
    cpu.vmsave(page_to_phys(cpu, vcpu.host_save_area))
    vcpu.host_tsc_aux = cpu.rdmsr(MSR.TSC_AUX)


def _v2_prepare_switch_to_guest(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_prepare_guest_switch() of v2: nothing; vcpu_load has saved the host."""


def _v2_vcpu_enter_exit(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_vcpu_enter_exit() of v2: the vCPU is found without GS, and in it the page."""
    svm_vcpu_run(cpu, vcpu)
    cpu.vmload(page_to_phys(cpu, vcpu.host_save_area))
    reload_tss(cpu, vcpu)


def _v2_prepare_host_switch(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_vcpu_put() of v2: TSC_AUX."""
    cpu.wrmsr(MSR.TSC_AUX, vcpu.host_tsc_aux)


#: The second version, of 14 December 2020 (mail-roth-v2).
v2 = SimpleNamespace(
    __name__="vmload_before_stgi.v2",
    vcpu_load=_v2_vcpu_load,
    prepare_switch_to_guest=_v2_prepare_switch_to_guest,
    vcpu_enter_exit=_v2_vcpu_enter_exit,
    prepare_host_switch=_v2_prepare_host_switch,
)


def _v3_prepare_switch_to_guest(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_prepare_guest_switch() of v3: page_to_phys(), so without the C-bit, which VM_HSAVE_PA has (B04)."""
    if vcpu.guest_state_loaded:
        return
    cpu.vmsave(page_to_phys(cpu, per_cpu(cpu, vcpu.cpu, "save_area")))
    vcpu.host_tsc_aux = cpu.rdmsr(MSR.TSC_AUX)
    vcpu.guest_state_loaded = True


def _v3_vcpu_enter_exit(cpu: Cpu, vcpu: Vcpu) -> None:
    """__svm_vcpu_run() of v3: the address on the stack, VMLOAD in assembly, with no exception table (B05)."""
    vmcb_pa, pushed = vcpu.vmcb_pa, page_to_phys(cpu, per_cpu(cpu, vcpu.cpu, "save_area"))
    cpu.sti()
    cpu.vmload(vmcb_pa)
    cpu.vmrun(vmcb_pa)
    cpu.vmsave(vmcb_pa)
    cpu.vmload(pushed)
    cpu.cli()
    reload_tss(cpu, vcpu)


#: The third version, of 5 January 2021 (mail-roth-v3).
v3 = SimpleNamespace(
    __name__="vmload_before_stgi.v3",
    prepare_switch_to_guest=_v3_prepare_switch_to_guest,
    vcpu_enter_exit=_v3_vcpu_enter_exit,
    prepare_host_switch=prepare_host_switch,
)
