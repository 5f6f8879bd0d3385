"""VMSAVE by an address without the C-bit, VMLOAD by one with it: what comes back is ciphertext."""

from ..explorer import Bounds
from ..instructions import Cpu
from ..kvm.hosts import host
from ..kvm.percpu import per_cpu
from ..kvm.vcpu import Vcpu
from ..memory import C_BIT
from ..paths import vmload_before_stgi
from ..registers import MSR
from . import Case, variant


def broken(cpu: Cpu, vcpu: Vcpu) -> None:
    """page_to_phys() has no C-bit; the address for VMLOAD here has."""
    if vcpu.guest_state_loaded:
        return
    cpu.vmsave(per_cpu(cpu, vcpu.cpu, "save_area_pa") & ~C_BIT)
    vcpu.host_tsc_aux = cpu.rdmsr(MSR.TSC_AUX)
    vcpu.guest_state_loaded = True


_HOST = host("zen3+fsgsbase", seed=1, vcpus=1, sme=True)
_BOUNDS = Bounds(exits=1, periods=2, events=0, migrations=1)
BROKEN = Case(variant(vmload_before_stgi, "B04", prepare_switch_to_guest=broken), _HOST, _BOUNDS)
FIXED = Case(vmload_before_stgi, _HOST, _BOUNDS)
