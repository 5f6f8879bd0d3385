"""Xen's flag began with the wrong value: VMSAVE before the vCPU's state had ever been loaded."""

from ..explorer import Bounds
from ..instructions import Cpu
from ..kvm.hosts import host
from ..kvm.vcpu import Vcpu
from ..paths import xen_hvm
from ..paths.xen_hvm import IN_SYNC, NEEDS_VMSAVE
from . import Case, variant


def broken(cpu: Cpu, vcpu: Vcpu) -> None:
    """A bool for "in sync" that begins as false: the registers are taken for the guest's."""
    if getattr(vcpu, "vmcb_sync_state", None) is None or vcpu.vmcb_sync_state == IN_SYNC:
        vcpu.vmcb_sync_state = NEEDS_VMSAVE
    xen_hvm.prepare_switch_to_guest(cpu, vcpu)


_HOST = host("xen", seed=1, vcpus=1)
_BOUNDS = Bounds(exits=1, periods=1, events=0, migrations=0)
BROKEN = Case(variant(xen_hvm, "B23", prepare_switch_to_guest=broken), _HOST, _BOUNDS)
FIXED = Case(xen_hvm, _HOST, _BOUNDS)
