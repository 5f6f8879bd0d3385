"""Xen stored host_vmcb before LSTAR was programmed: the first VMLOAD of it takes LSTAR away again."""

from ..explorer import Bounds
from ..instructions import Cpu
from ..kvm.hosts import host
from ..kvm.percpu import this_cpu_read
from ..kvm.vcpu import Vcpu
from ..paths import xen_hvm
from ..registers import MSR
from . import Case, variant


def _up(cpu: Cpu, vcpu: Vcpu, *, early: bool) -> None:
    """Bring the CPU up when a vCPU first comes: VMSAVE of host_vmcb, and LSTAR, in one order or the other."""
    if vcpu.cpu not in getattr(vcpu, "brought_up", ()):
        vcpu.brought_up = (*getattr(vcpu, "brought_up", ()), vcpu.cpu)
        lstar = cpu.rdmsr(MSR.LSTAR)
        cpu.wrmsr(MSR.LSTAR, 0)  # as after reset
        if early:
            cpu.vmsave(this_cpu_read(cpu, "host_vmcb"))
        cpu.wrmsr(MSR.LSTAR, lstar)
        if not early:
            cpu.vmsave(this_cpu_read(cpu, "host_vmcb"))
    xen_hvm.vcpu_load(cpu, vcpu)


def broken(cpu: Cpu, vcpu: Vcpu) -> None:
    """VMSAVE first."""
    _up(cpu, vcpu, early=True)


def fixed(cpu: Cpu, vcpu: Vcpu) -> None:
    """VMSAVE when all is programmed."""
    _up(cpu, vcpu, early=False)


_HOST = host("xen", seed=1, vcpus=1)
_BOUNDS = Bounds(exits=1, periods=2, events=0, migrations=1)
BROKEN = Case(variant(xen_hvm, "B24", vcpu_load=broken), _HOST, _BOUNDS)
FIXED = Case(variant(xen_hvm, "B24 fixed", vcpu_load=fixed), _HOST, _BOUNDS)
