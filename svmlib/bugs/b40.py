"""No VMSAVE before an SEV-ES VMRUN: #VMEXIT loads what the page held last, or nothing but zeros."""

from ..explorer import Bounds
from ..instructions import Cpu
from ..kvm.hosts import host
from ..kvm.user_return import kvm_set_user_return_msr
from ..kvm.vcpu import Vcpu
from ..paths import sev_es
from . import Case, variant


def broken(cpu: Cpu, vcpu: Vcpu) -> None:
    """The rest of type B alone."""
    if vcpu.guest_state_loaded:
        return
    sev_es.sev_es_prepare_switch_to_guest(cpu, vcpu, sev_es.sev_es_host_save_area(cpu, vcpu))
    kvm_set_user_return_msr(cpu, vcpu.tsc_aux)
    vcpu.guest_state_loaded = True


_HOST = host("sev_es", seed=1, vcpus=1)
_BOUNDS = Bounds(exits=1, periods=1, events=0, migrations=0)
BROKEN = Case(variant(sev_es, "B40", prepare_switch_to_guest=broken), _HOST, _BOUNDS)
FIXED = Case(sev_es, _HOST, _BOUNDS)
