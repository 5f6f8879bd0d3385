"""#VMEXIT loads a TSC_AUX of its own, and the user-return cache goes on believing in what it wrote."""

from ..explorer import Bounds
from ..instructions import Cpu
from ..instructions.sev_es import ROWS
from ..kvm.hosts import host
from ..kvm.percpu import per_cpu, this_cpu_read
from ..kvm.user_return import kvm_set_user_return_msr
from ..kvm.vcpu import Vcpu
from ..paths import sev_es
from ..registers import MSR
from . import Case, variant

_AT = {row.name: row.offset for row in ROWS}


def broken(cpu: Cpu, vcpu: Vcpu) -> None:
    """TSC_AUX as a user-return MSR though hardware swaps it: nobody stores what #VMEXIT is to load.

    It is noticed where the guest has the value of the host's, as a vCPU with its CPU's number has: there is
    nothing to write, so nothing to put back.
    """
    if vcpu.guest_state_loaded:
        return
    cpu.vmsave(per_cpu(cpu, vcpu.cpu, "save_area_pa"))
    hostsa = sev_es.sev_es_host_save_area(cpu, vcpu)
    cpu.store(hostsa + _AT["XCR0"], cpu.xgetbv())
    cpu.store(hostsa + _AT["PKRU"], cpu.rdpkru(), 4)
    cpu.store(hostsa + _AT["XSS"], cpu.rdmsr(MSR.XSS))
    kvm_set_user_return_msr(cpu, this_cpu_read(cpu, "user_return_host"))
    vcpu.guest_state_loaded = True


_HOST = host("sev_es+v_tsc_aux", seed=1, vcpus=1)
_BOUNDS = Bounds(exits=1, periods=1, events=0, migrations=0)
BROKEN = Case(variant(sev_es, "B15", prepare_switch_to_guest=broken), _HOST, _BOUNDS)
FIXED = Case(sev_es, _HOST, _BOUNDS)
