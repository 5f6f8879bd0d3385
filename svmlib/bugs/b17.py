"""Type B state is loaded by #VMEXIT and saved by nobody: PKRU was forgotten."""

from ..explorer import Bounds
from ..instructions import Cpu
from ..instructions.sev_es import ROWS
from ..kvm.hosts import host
from ..kvm.percpu import per_cpu
from ..kvm.user_return import kvm_get_user_return_msr, kvm_set_user_return_msr
from ..kvm.vcpu import Vcpu, static_cpu_has
from ..paths import sev_es
from ..registers import MSR
from . import Case, variant

_AT = {row.name: row.offset for row in ROWS}


def broken(cpu: Cpu, vcpu: Vcpu) -> None:
    """VMSAVE, XCR0 and XSS."""
    if vcpu.guest_state_loaded:
        return
    cpu.vmsave(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
    hostsa = sev_es.sev_es_host_save_area(cpu, vcpu)
    cpu.store(hostsa + _AT["XCR0"], cpu.xgetbv())
    cpu.store(hostsa + _AT["XSS"], cpu.rdmsr(MSR.XSS))
    if static_cpu_has(vcpu, "V_TSC_AUX"):
        cpu.store(hostsa + _AT["TSC_AUX"], kvm_get_user_return_msr(cpu), 4)
    else:
        kvm_set_user_return_msr(cpu, vcpu.tsc_aux)
    vcpu.guest_state_loaded = True


_HOST = host("sev_es", seed=1, vcpus=1)
_BOUNDS = Bounds(exits=1, periods=1, events=0, migrations=0)
BROKEN = Case(variant(sev_es, "B17", prepare_switch_to_guest=broken), _HOST, _BOUNDS)
FIXED = Case(sev_es, _HOST, _BOUNDS)
