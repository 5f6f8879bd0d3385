"""A page saved once: the thread has moved its FS base in user space since, and gets the old one back."""

from ..explorer import Bounds
from ..instructions import Cpu
from ..kvm.hosts import host
from ..kvm.percpu import per_cpu
from ..kvm.vcpu import Vcpu
from ..paths import vmload_before_stgi
from ..registers import MSR
from . import Case, variant


def broken(cpu: Cpu, vcpu: Vcpu) -> None:
    """VMSAVE when the vCPU first comes to a CPU, as if the host's half were the CPU's own."""
    if vcpu.cpu in getattr(vcpu, "saved_on", ()):
        return
    cpu.vmsave(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
    vcpu.host_tsc_aux = cpu.rdmsr(MSR.TSC_AUX)
    vcpu.saved_on = (*getattr(vcpu, "saved_on", ()), vcpu.cpu)


_HOST = host("zen3+fsgsbase", seed=1, vcpus=1, cpus=1)
_BOUNDS = Bounds(exits=2, periods=3, events=0, migrations=0)
BROKEN = Case(variant(vmload_before_stgi, "B34", prepare_switch_to_guest=broken), _HOST, _BOUNDS)
FIXED = Case(vmload_before_stgi, _HOST, _BOUNDS)
