"""NVMM clears the TSS's busy bit through per-CPU data: right only behind the WRMSR of GS.base."""

from ..explorer import Bounds
from ..instructions import Cpu
from ..kvm.hosts import host
from ..kvm.vcpu import Vcpu
from ..paths import nvmm
from ..registers import MSR
from . import Case, variant


def broken(cpu: Cpu, vcpu: Vcpu) -> None:
    """HOST_RESTORE_TR before HOST_RESTORE_MSR."""
    vmcb_pa = vcpu.vmcb_pa
    tr = cpu.str()
    bases = [cpu.rdmsr(msr) for msr in (MSR.KERNEL_GS_BASE, MSR.GS_BASE, MSR.FS_BASE)]
    cpu.mov_to_sreg("FS", 0)
    cpu.mov_to_sreg("GS", 0)
    ldt = cpu.sldt()
    cpu.vmload(vmcb_pa)
    cpu.vmrun(vmcb_pa)
    cpu.vmsave(vmcb_pa)
    cpu.lldt(ldt)
    cpu.mov_to_sreg("GS", 0)
    cpu.mov_to_sreg("FS", 0)
    nvmm.restore_tr(cpu, tr)
    for msr in (MSR.FS_BASE, MSR.GS_BASE, MSR.KERNEL_GS_BASE):
        cpu.wrmsr(msr, bases.pop())


_HOST = host("netbsd", seed=1, vcpus=1)
_BOUNDS = Bounds(exits=1, periods=1, events=0, migrations=0)
BROKEN = Case(variant(nvmm, "B28", vcpu_enter_exit=broken), _HOST, _BOUNDS)
FIXED = Case(nvmm, _HOST, _BOUNDS)
