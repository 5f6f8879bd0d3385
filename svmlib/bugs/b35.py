"""A guest's TR stays loaded while the IDT names interrupt stacks: the NMI's is the guest's choice."""

from ..explorer import Bounds
from ..instructions import Cpu
from ..kvm.hosts import host
from ..kvm.vcpu import Vcpu
from ..paths import xen_hvm
from ..registers import MSR
from . import Case, variant


def broken(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_ctxt_switch_to() without disable_each_ist()."""
    cpu.wrmsr(MSR.TSC_AUX, vcpu.tsc_aux)


_HOST = host("xen", seed=1, vcpus=1)
_BOUNDS = Bounds(exits=1, periods=1, events=1, migrations=0)
BROKEN = Case(variant(xen_hvm, "B35", vcpu_load=broken), _HOST, _BOUNDS)
FIXED = Case(xen_hvm, _HOST, _BOUNDS)
