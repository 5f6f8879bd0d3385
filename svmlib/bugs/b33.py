"""guest_state_loaded stays set: after a migration the page is another CPU's, or an old one."""

from ..explorer import Bounds
from ..instructions import Cpu
from ..kvm.hosts import host
from ..kvm.vcpu import Vcpu
from ..paths import vmload_before_stgi
from ..registers import MSR
from . import Case, variant


def broken(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_prepare_host_switch() that forgets the flag."""
    cpu.wrmsr(MSR.TSC_AUX, vcpu.host_tsc_aux)


_HOST = host("zen3+fsgsbase", seed=1, vcpus=1)
_BOUNDS = Bounds(exits=2, periods=2, events=0, migrations=1)
BROKEN = Case(variant(vmload_before_stgi, "B33", prepare_host_switch=broken), _HOST, _BOUNDS)
FIXED = Case(vmload_before_stgi, _HOST, _BOUNDS)
