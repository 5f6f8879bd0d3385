"""Xen entered guests with a PV guest's selectors in DS, ES and SS; #VMEXIT may read them anew, and stops.

The rule is from Xen's comment where it loads nulls first (xen-svm); no emulator at hand has it and neither
has the model's #VMEXIT, so it is written out here.
"""

from ..faults import Fault
from ..instructions import Cpu, segments
from ..kvm.hosts import host
from ..kvm.machine import Machine
from ..paths import vmload_before_stgi
from ..processor import Processor

#: A selector into the PV guest's part of the GDT, which is not there once the guest is gone.
OF_A_PV_GUEST = 0x0103


def reread(p: Processor) -> str:
    """Reload the host's data segments from the GDT, as #VMEXIT; return why the processor stopped, or ""."""
    for name in ("DS", "ES", "SS"):
        selector = p.regs[f"{name}.selector"]
        if selector < 4:
            continue
        try:
            segments.fetch(p, f"#VMEXIT: {name}", selector)
        except Fault as fault:
            return str(p.stop(f"The processor shut down at #VMEXIT: {fault}."))
    return ""


def _entered_with(selector: int) -> str:
    machine = Machine(vmload_before_stgi, host("xen", seed=1, vcpus=1))
    p, vmcb_pa = machine.processors[0], machine.threads[0].vcpu._fields["vmcb_pa"]
    p.regs.update({"DS.selector": selector, "ES.selector": selector, "SS.selector": selector & ~3})
    p.guest = lambda p, pa: 0x72
    cpu = Cpu(p)
    cpu.vmload(vmcb_pa)
    cpu.vmrun(vmcb_pa)
    return reread(p)


def BROKEN() -> str:  # noqa: N802 - the name that every scenario has
    """Leave the PV guest's selectors where they are."""
    return _entered_with(OF_A_PV_GUEST)


def FIXED() -> str:  # noqa: N802
    """svm_ctxt_switch_to(): load nulls."""
    return _entered_with(0)
