"""The address of the save page lies in per-CPU data, which need GS, which lies in the save page."""

from ..instructions import Cpu
from ..kvm.hosts import host
from ..kvm.percpu import this_cpu_read
from ..kvm.vcpu import Vcpu
from ..kvm.vmenter import svm_vcpu_run
from ..paths import vmload_before_stgi
from . import Case, variant


def broken(cpu: Cpu, vcpu: Vcpu) -> None:
    """Look the page up where it is needed."""
    svm_vcpu_run(cpu, vcpu)
    cpu.vmload(this_cpu_read(cpu, "save_area_pa"))


def fixed(cpu: Cpu, vcpu: Vcpu) -> None:
    """Look it up while GS is the host's."""
    save_area_pa = this_cpu_read(cpu, "save_area_pa")
    svm_vcpu_run(cpu, vcpu)
    cpu.vmload(save_area_pa)


_HOST = host("zen3+fsgsbase", seed=1, vcpus=1)
BROKEN = Case(variant(vmload_before_stgi, "B03", vcpu_enter_exit=broken), _HOST)
FIXED = Case(variant(vmload_before_stgi, "B03 fixed", vcpu_enter_exit=fixed), _HOST)
