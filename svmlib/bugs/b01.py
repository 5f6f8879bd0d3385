"""The host's SPEC_CTRL, which is per-CPU data, was read before GS.base was the host's again."""

from ..instructions import Cpu
from ..kvm.hosts import host
from ..kvm.vcpu import Vcpu
from ..kvm.vmenter import reload_tss, svm_vcpu_run
from ..paths import legacy
from ..paths.upstream import restore_guest_spec_ctrl, restore_host_spec_ctrl
from ..registers import MSR
from . import Case, variant


def broken(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_vcpu_run() of early 2018."""
    restore_guest_spec_ctrl(cpu, vcpu)
    svm_vcpu_run(cpu, vcpu)
    restore_host_spec_ctrl(cpu, vcpu)
    cpu.wrmsr(MSR.GS_BASE, vcpu.host_gs_base)
    reload_tss(cpu, vcpu)


def fixed(cpu: Cpu, vcpu: Vcpu) -> None:
    """x86_spec_ctrl_restore_host() behind the WRMSR."""
    restore_guest_spec_ctrl(cpu, vcpu)
    svm_vcpu_run(cpu, vcpu)
    cpu.wrmsr(MSR.GS_BASE, vcpu.host_gs_base)
    restore_host_spec_ctrl(cpu, vcpu)
    reload_tss(cpu, vcpu)


_HOST = host("zen1-fsgsbase", seed=1, vcpus=1)
BROKEN = Case(variant(legacy, "B01", vcpu_enter_exit=broken, CARRIES=("SPEC_CTRL",)), _HOST)
FIXED = Case(variant(legacy, "B01 fixed", vcpu_enter_exit=fixed, CARRIES=("SPEC_CTRL",)), _HOST)
