"""IF clear at VMRUN: no interrupt can end the guest's run, and the CPU is the guest's until it lets go."""

from ..explorer import Bounds
from ..instructions import Cpu
from ..kvm.hosts import host
from ..kvm.percpu import per_cpu
from ..kvm.vcpu import Vcpu
from ..paths import vmload_before_stgi
from . import Case, variant


def broken(cpu: Cpu, vcpu: Vcpu) -> None:
    """__svm_vcpu_run() without its STI."""
    vmcb_pa, save_area_pa = vcpu.vmcb_pa, per_cpu(cpu, vcpu.cpu, "save_area_pa")
    cpu.vmload(vmcb_pa)
    cpu.vmrun(vmcb_pa)
    cpu.vmsave(vmcb_pa)
    cpu.cli()
    cpu.vmload(save_area_pa)


_HOST = host("zen3+fsgsbase", seed=1, vcpus=1)
_BOUNDS = Bounds(exits=1, periods=1, events=0, migrations=0)
BROKEN = Case(variant(vmload_before_stgi, "B36", vcpu_enter_exit=broken), _HOST, _BOUNDS)
FIXED = Case(vmload_before_stgi, _HOST, _BOUNDS)
