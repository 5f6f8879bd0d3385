"""FS.base first, then FS: lost where a null selector clears the base, kept by luck on older CPUs."""

from ..explorer import Bounds
from ..instructions import Cpu
from ..kvm.hosts import host
from ..kvm.vcpu import Vcpu
from ..kvm.vmenter import load_gs_index
from ..paths import legacy
from ..registers import MSR
from . import Case, variant


def broken(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_vcpu_put() with loadsegment(fs) behind the list of MSRs."""
    cpu.lldt(vcpu.host_ldt)
    cpu.wrmsr(MSR.FS_BASE, vcpu.host_user_msrs[legacy.HOST_SAVE_USER_MSRS.index(MSR.FS_BASE)])
    cpu.mov_to_sreg("FS", vcpu.host_fs)
    load_gs_index(cpu, vcpu.host_gs)
    for msr, value in zip(legacy.HOST_SAVE_USER_MSRS, vcpu.host_user_msrs, strict=True):
        if msr != MSR.FS_BASE:
            cpu.wrmsr(msr, value)


#: A host whose thread has a null selector in FS.
_SEED = 1
_BOUNDS = Bounds(exits=1, periods=1, events=0, migrations=0)
_PATH = variant(legacy, "B32", prepare_host_switch=broken)
BROKEN = Case(_PATH, host("zen2-fsgsbase", seed=_SEED, vcpus=1), _BOUNDS)
#: The same code where it does no harm.
LUCKY = Case(_PATH, host("family15h", seed=_SEED, vcpus=1), _BOUNDS)
FIXED = Case(legacy, host("zen2-fsgsbase", seed=_SEED, vcpus=1), _BOUNDS)
