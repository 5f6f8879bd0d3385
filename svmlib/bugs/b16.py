"""An SEV-ES vCPU preempts another, and #VMEXIT loads the host's TSC_AUX, not the one that was there."""

from ..explorer import Bounds
from ..instructions import Cpu
from ..instructions.sev_es import ROWS
from ..kvm.hosts import host
from ..kvm.percpu import per_cpu, this_cpu_read
from ..kvm.user_return import kvm_set_user_return_msr
from ..kvm.vcpu import Vcpu
from ..paths import sev_es
from . import Case, variant

_AT = {row.name: row.offset for row in ROWS}


def broken(cpu: Cpu, vcpu: Vcpu) -> None:
    """Fill the save area once and for all with the host's own TSC_AUX."""
    if vcpu.guest_state_loaded:
        return
    cpu.vmsave(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
    if vcpu.sev_es:
        hostsa = sev_es.sev_es_host_save_area(cpu, vcpu)
        sev_es.sev_es_prepare_switch_to_guest(cpu, vcpu, hostsa)
        cpu.store(hostsa + _AT["TSC_AUX"], this_cpu_read(cpu, "user_return_host"), 4)
    else:
        kvm_set_user_return_msr(cpu, vcpu.tsc_aux)
    vcpu.guest_state_loaded = True


_HOST = host("sev_es+v_tsc_aux", seed=1, cpus=1)
#: The ordinary vCPU, the SEV-ES one, the ordinary one again: three periods.
_BOUNDS = Bounds(exits=1, periods=3, events=0, migrations=0)
BROKEN = Case(variant(sev_es, "B16", prepare_switch_to_guest=broken), _HOST, _BOUNDS)
FIXED = Case(sev_es, _HOST, _BOUNDS)
