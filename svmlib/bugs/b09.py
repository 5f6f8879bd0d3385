"""After retbleed's mitigation per-CPU data were read, and RET executed, before the host's VMLOAD in C."""

from ..instructions import Cpu
from ..kvm.hosts import host
from ..kvm.percpu import this_cpu_read
from ..kvm.vcpu import Vcpu
from ..paths import upstream
from ..paths.upstream import restore_guest_spec_ctrl, restore_host_spec_ctrl
from . import Case, variant


def broken(cpu: Cpu, vcpu: Vcpu) -> None:
    """__svm_vcpu_run() with RESTORE_HOST_SPEC_CTRL in it, and VMLOAD in its caller."""
    save_area_pa = this_cpu_read(cpu, "save_area_pa")
    restore_guest_spec_ctrl(cpu, vcpu)
    vmcb_pa = vcpu.vmcb_pa
    cpu.vmload(vmcb_pa)
    cpu.sti()
    cpu.vmrun(vmcb_pa)
    cpu.cli()
    cpu.vmsave(vmcb_pa)
    restore_host_spec_ctrl(cpu, vcpu)
    cpu.vmload(save_area_pa)


_HOST = host("zen2+fsgsbase", seed=1, vcpus=1)
BROKEN = Case(variant(upstream, "B09", vcpu_enter_exit=broken), _HOST)
FIXED = Case(upstream, _HOST)
