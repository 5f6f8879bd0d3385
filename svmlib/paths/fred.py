"""FRED: as upstream, and FRED_RSP0 by hand, which hardware does not switch for guests without SEV-ES.

The guest's is written before VMRUN and read after it; the host's comes back lazily, on the way to user space,
so the kernel has to be told what the register holds meanwhile (mail-fred-svm, B41).  Posted in January 2026
and not seen merged.
"""

from ..instructions import Cpu
from ..kvm.percpu import this_cpu_write
from ..kvm.vcpu import Vcpu
from ..registers import MSR
from . import upstream
from .upstream import on_user_return, prepare_host_switch, prepare_switch_to_guest

__all__ = ["CARRIES", "on_user_return", "prepare_host_switch", "prepare_switch_to_guest", "vcpu_enter_exit"]

CARRIES = (*upstream.CARRIES, "FRED_RSP0")


def vcpu_enter_exit(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_vcpu_enter_exit(): the guest's FRED_RSP0 around the run, then fred_sync_rsp0() with it."""
    cpu.wrmsr(MSR.FRED_RSP0, vcpu.fred_rsp0)
    upstream.vcpu_enter_exit(cpu, vcpu)
    vcpu.fred_rsp0 = cpu.rdmsr(MSR.FRED_RSP0)
    this_cpu_write(cpu, "fred_rsp0", vcpu.fred_rsp0)
