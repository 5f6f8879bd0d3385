"""bhyve restored GS by its selector, which brings back 32 bits of a base that has 64."""

from ..explorer import Bounds
from ..instructions import Cpu
from ..kvm.hosts import host
from ..kvm.vcpu import Vcpu
from ..paths import bhyve
from . import Case, variant


def broken(cpu: Cpu, vcpu: Vcpu) -> None:
    """Until 2014: the selectors of FS and GS, and nothing else, right after the guest."""
    ldt, gs = cpu.sldt(), cpu.mov_from_sreg("GS")
    vmcb_pa = vcpu.vmcb_pa
    cpu.vmload(vmcb_pa)
    cpu.vmrun(vmcb_pa)
    cpu.vmsave(vmcb_pa)
    cpu.mov_to_sreg("GS", gs)
    bhyve.restore_host_tss(cpu)
    cpu.lldt(ldt)


_HOST = host("freebsd", seed=1, vcpus=1)
_BOUNDS = Bounds(exits=1, periods=1, events=0, migrations=0)
BROKEN = Case(variant(bhyve, "B27", vcpu_enter_exit=broken), _HOST, _BOUNDS)
FIXED = Case(bhyve, _HOST, _BOUNDS)
