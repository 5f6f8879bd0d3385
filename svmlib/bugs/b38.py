"""GIF holds back events, not exceptions: a page fault with the guest's GS finds nobody to handle it."""

from ..explorer import Bounds
from ..faults import Fault
from ..instructions import Cpu
from ..kvm.hosts import host
from ..kvm.percpu import per_cpu
from ..kvm.vcpu import Vcpu
from ..kvm.vmenter import svm_vcpu_run
from ..paths import vmload_before_stgi
from . import Case, variant

#: An address of the kernel's where nothing is mapped now: a vmalloc'ed page, say.
NOT_PRESENT = 0xFFFF_C900_0000_0000


def touch(cpu: Cpu) -> None:
    """Read there; the exception table has an entry for it."""
    try:
        cpu.load(NOT_PRESENT)
    except Fault as fault:
        if fault.vector != "#PF":
            raise


def broken(cpu: Cpu, vcpu: Vcpu) -> None:
    """Between the guest's VMSAVE and the host's VMLOAD."""
    save_area_pa = per_cpu(cpu, vcpu.cpu, "save_area_pa")
    svm_vcpu_run(cpu, vcpu)
    touch(cpu)
    cpu.vmload(save_area_pa)


def fixed(cpu: Cpu, vcpu: Vcpu) -> None:
    """Behind the host's VMLOAD."""
    save_area_pa = per_cpu(cpu, vcpu.cpu, "save_area_pa")
    svm_vcpu_run(cpu, vcpu)
    cpu.vmload(save_area_pa)
    touch(cpu)


_HOST = host("zen3+fsgsbase", seed=1, vcpus=1)
_BOUNDS = Bounds(exits=1, periods=1, events=0, migrations=0)
BROKEN = Case(variant(vmload_before_stgi, "B38", vcpu_enter_exit=broken), _HOST, _BOUNDS)
FIXED = Case(variant(vmload_before_stgi, "B38 fixed", vcpu_enter_exit=fixed), _HOST, _BOUNDS)
