"""reload_tss() does nothing behind the host's VMLOAD; where that comes late, it is what saves the NMI."""

from ..instructions import Cpu
from ..kvm.hosts import host
from ..kvm.percpu import cpu_kernelmode_gs_base
from ..kvm.vcpu import Vcpu
from ..kvm.vmenter import reload_tss, svm_vcpu_run
from ..paths import lazy, vmload_before_stgi
from . import Case, variant


def broken(cpu: Cpu, vcpu: Vcpu) -> None:
    """Option 2 without reload_tss(), as if only GS were the kernel's."""
    gs_base = cpu_kernelmode_gs_base(cpu, vcpu.cpu)
    svm_vcpu_run(cpu, vcpu)
    cpu.wrgsbase(gs_base)


def fixed(cpu: Cpu, vcpu: Vcpu) -> None:
    """With it."""
    broken(cpu, vcpu)
    reload_tss(cpu, vcpu)


_HOST = host("zen3+fsgsbase", seed=1, vcpus=1)
BROKEN = Case(variant(lazy, "B08", vcpu_enter_exit=broken), _HOST)
FIXED = Case(variant(lazy, "B08 fixed", vcpu_enter_exit=fixed), _HOST)
#: What 2023 found: option 1 is as clean without it.
REDUNDANT = Case(vmload_before_stgi.since_2023, _HOST)
