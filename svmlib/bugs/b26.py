"""bhyve kept no LDTR: the host went on with the guest's."""

from ..explorer import Bounds
from ..instructions import Cpu
from ..kvm.hosts import host
from ..kvm.percpu import cpu_kernelmode_gs_base
from ..kvm.vcpu import Vcpu
from ..paths import bhyve
from . import Case, variant


def broken(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_run() without SLDT and LLDT."""
    bhyve.svm_launch(cpu, vcpu.vmcb_pa, cpu_kernelmode_gs_base(cpu, vcpu.cpu))
    bhyve.restore_host_tss(cpu)


_HOST = host("freebsd", seed=1, vcpus=1)
_BOUNDS = Bounds(exits=1, periods=1, events=0, migrations=0)
BROKEN = Case(variant(bhyve, "B26", vcpu_enter_exit=broken), _HOST, _BOUNDS)
FIXED = Case(bhyve, _HOST, _BOUNDS)
