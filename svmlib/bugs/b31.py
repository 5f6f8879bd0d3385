"""The list of MSRs first, then load_gs_index(): the selector takes KernelGSBase away again."""

from ..explorer import Bounds
from ..instructions import Cpu
from ..kvm.hosts import host
from ..kvm.vcpu import Vcpu
from ..kvm.vmenter import load_gs_index
from ..paths import legacy
from . import Case, variant


def broken(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_vcpu_put() with its loop at the wrong end."""
    cpu.lldt(vcpu.host_ldt)
    cpu.mov_to_sreg("FS", vcpu.host_fs)
    for msr, value in zip(legacy.HOST_SAVE_USER_MSRS, vcpu.host_user_msrs, strict=True):
        cpu.wrmsr(msr, value)
    load_gs_index(cpu, vcpu.host_gs)


_HOST = host("zen2-fsgsbase", seed=1, vcpus=1)
_BOUNDS = Bounds(exits=1, periods=1, events=0, migrations=0)
BROKEN = Case(variant(legacy, "B31", prepare_host_switch=broken), _HOST, _BOUNDS)
FIXED = Case(legacy, _HOST, _BOUNDS)
