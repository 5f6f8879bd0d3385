"""On 32-bit hosts VMSAVE takes EAX: an hpa_t above 4 GiB lost its upper half without a word."""

from ..explorer import Bounds
from ..instructions import Cpu
from ..kvm.host import VMCBS
from ..kvm.hosts import host
from ..kvm.percpu import per_cpu
from ..kvm.vcpu import Vcpu
from ..kvm.vmenter import svm_vcpu_run
from ..paths import vmload_before_stgi
from ..registers import MSR
from . import Case, variant

#: A page above 4 GiB whose lower half is the address of somebody else's: the VMCB of vCPU 1.
ABOVE = 1 << 32 | VMCBS + 0x1000


def _path(name: str, page: int | None) -> object:
    def save_area_pa(cpu: Cpu, vcpu: Vcpu) -> int:
        return per_cpu(cpu, vcpu.cpu, "save_area_pa") if page is None else page

    def prepare(cpu: Cpu, vcpu: Vcpu) -> None:
        if not vcpu.guest_state_loaded:
            cpu.vmsave(save_area_pa(cpu, vcpu))
            vcpu.host_tsc_aux = cpu.rdmsr(MSR.TSC_AUX)
            vcpu.guest_state_loaded = True

    def enter(cpu: Cpu, vcpu: Vcpu) -> None:
        pa = save_area_pa(cpu, vcpu)
        svm_vcpu_run(cpu, vcpu)
        cpu.vmload(pa)

    return variant(vmload_before_stgi, name, prepare_switch_to_guest=prepare, vcpu_enter_exit=enter)


_HOST, _BOUNDS = host("i386", seed=1, cpus=1), Bounds(exits=1, periods=2, events=0, migrations=0)
BROKEN = Case(_path("B06", ABOVE), _HOST, _BOUNDS)
#: An unsigned long has no upper half to lose: the page has to come from below 4 GiB.
FIXED = Case(_path("B06 fixed", None), _HOST, _BOUNDS)
