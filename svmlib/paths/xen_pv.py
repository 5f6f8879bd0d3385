"""Xen's switch to a PV guest: its segments written into host_vmcb, then one VMLOAD for all of them.

In place of WRMSR three times and LLDT; only where FS and GS hold null selectors, since VMLOAD would bring
hidden parts that no descriptor stands for (xen-svm, xen-sync).  The HVM vCPU that ran before is as in
`xen_hvm`.
"""

from ..instructions import Cpu
from ..kvm.host import LDT_LIMIT, THREAD_FS, THREAD_FSBASE, THREAD_GS, THREAD_GSBASE, THREAD_LDT
from ..kvm.kernels.xen import VCPU_GS_ACTIVE, VCPU_TSC_AUX, load_segments
from ..kvm.percpu import phys_to_virt, this_cpu_read
from ..kvm.vcpu import Vcpu
from ..kvm.vmenter import LDT_SELECTOR
from ..registers import MSR, REGISTERS
from .xen_hvm import CARRIES, prepare_switch_to_guest, svm_ctxt_switch_from, vcpu_enter_exit, vcpu_load

__all__ = ["CARRIES", "prepare_host_switch", "prepare_switch_to_guest", "vcpu_enter_exit", "vcpu_load"]

_LDT_ATTRIB = 0x082
#: Sizes of a segment's parts in the VMCB.
_PARTS = {"selector": 2, "attrib": 2, "limit": 4, "base": 8}


def prepare_host_switch(cpu: Cpu, vcpu: Vcpu) -> None:
    """svm_ctxt_switch_from(), then load_segments() of the PV vCPU that comes: at once, if it can be."""
    svm_ctxt_switch_from(cpu, vcpu)
    pv = this_cpu_read(cpu, "current_task")
    if (cpu.load(pv + THREAD_FS, 2) | cpu.load(pv + THREAD_GS, 2)) & ~3:
        load_segments(cpu, pv, LDT_SELECTOR)
        return
    svm_load_segs(cpu, pv)
    cpu.wrmsr(MSR.TSC_AUX, cpu.load(pv + VCPU_TSC_AUX))


def svm_load_segs(cpu: Cpu, pv: int) -> None:
    """svm_load_segs(): fill FS, GS, LDTR and KernelGSBase of host_vmcb in, and VMLOAD it."""
    host_vmcb = this_cpu_read(cpu, "host_vmcb")
    page = phys_to_virt(cpu, host_vmcb)
    _write(cpu, page, "FS", 0, 0, 0, cpu.load(pv + THREAD_FSBASE))
    _write(cpu, page, "GS", 0, 0, 0, cpu.load(pv + VCPU_GS_ACTIVE))
    ldt = cpu.load(pv + THREAD_LDT)
    if ldt:
        _write(cpu, page, "LDTR", LDT_SELECTOR, _LDT_ATTRIB, LDT_LIMIT, ldt)
    else:
        _write(cpu, page, "LDTR", 0, 0, 0, 0)
    cpu.store(page + _at("KernelGSBase"), cpu.load(pv + THREAD_GSBASE))
    cpu.vmload(host_vmcb)


def _write(cpu: Cpu, page: int, segment: str, *parts: int) -> None:
    for (part, size), value in zip(_PARTS.items(), parts, strict=True):
        cpu.store(page + _at(f"{segment}.{part}"), value, size)


def _at(register: str) -> int:
    offset = REGISTERS[register].vmcb
    if offset is None:
        raise KeyError(register)
    return offset
