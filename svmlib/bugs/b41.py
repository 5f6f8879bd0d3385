"""FRED_RSP0 comes back lazily, and nobody told the kernel's cache what the register holds meanwhile."""

from ..explorer import Bounds
from ..instructions import Cpu
from ..kvm.hosts import host
from ..kvm.vcpu import Vcpu
from ..paths import fred, upstream
from ..registers import MSR
from . import Case, variant


def broken(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_vcpu_enter_exit() without fred_sync_rsp0()."""
    cpu.wrmsr(MSR.FRED_RSP0, vcpu.fred_rsp0)
    upstream.vcpu_enter_exit(cpu, vcpu)
    vcpu.fred_rsp0 = cpu.rdmsr(MSR.FRED_RSP0)


_HOST = host("fred", seed=1, vcpus=1)
_BOUNDS = Bounds(exits=1, periods=2, events=0, migrations=0)
BROKEN = Case(variant(fred, "B41", vcpu_enter_exit=broken), _HOST, _BOUNDS)
FIXED = Case(fred, _HOST, _BOUNDS)
