"""The kernel's pieces around VMRUN that every path of 2020 used: vmenter.S, reload_tss, load_gs_index."""

from ..instructions import Cpu
from . import svm_ops
from .percpu import per_cpu
from .vcpu import Vcpu, static_cpu_has

#: Selectors of the 64-bit kernel's GDT (linux-entry-64): the TSS, the LDT.
TSS_SELECTOR = 0x40
LDT_SELECTOR = 0x50
#: Those of the 32-bit kernel's, and of its per-CPU segment (linux-i386).
TSS_SELECTOR_32 = 0x80
LDT_SELECTOR_32 = 0x88
KERNEL_PERCPU = 0xD8
#: Offset of the access byte in a descriptor, and its value for a 64-bit TSS that is present and not busy.
_ACCESS = 5
_TSS_AVAILABLE = 0x89


def svm_vcpu_run(cpu: Cpu, vcpu: Vcpu) -> None:
    """__svm_vcpu_run() of 2020: interrupts on, the guest's VMLOAD, VMRUN, the guest's VMSAVE, interrupts off.

    With IF clear at VMRUN no interrupt could end the guest's run; with IF set at STGI one would arrive there
    (linux-vmenter-2020).
    """
    vmcb_pa = vcpu.vmcb_pa
    cpu.sti()
    svm_ops.vmload(cpu, vmcb_pa)
    svm_ops.vmrun(cpu, vmcb_pa)
    svm_ops.vmsave(cpu, vmcb_pa)
    cpu.cli()


def reload_tss(cpu: Cpu, vcpu: Vcpu) -> None:
    """reload_tss(): make the host's TSS available in the GDT and load TR from there with LTR.

    Finds the GDT without GS, by per_cpu().  On every exit until 2023 (commit-0d3518d2f8c3).
    """
    tss_desc = per_cpu(cpu, vcpu.cpu, "tss_desc")
    cpu.store(tss_desc + _ACCESS, _TSS_AVAILABLE, 1)
    cpu.ltr(TSS_SELECTOR if static_cpu_has(vcpu, "X86_64") else TSS_SELECTOR_32)


def load_gs_index(cpu: Cpu, selector: int) -> None:
    """load_gs_index(): load the GS selector while the user's base is active, so that the kernel's survives.

    What the selector's descriptor holds as base ends up in KernelGSBase (linux-entry-64).  A fault at the MOV
    is fatal here; Linux mends it by loading a null selector.
    """
    cpu.cli()  # an interrupt between the two would run on the user's base
    cpu.swapgs()
    cpu.mov_to_sreg("GS", selector)
    cpu.swapgs()
    cpu.sti()
