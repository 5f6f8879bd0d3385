"""STI right before VMRUN: its shadow ends up in the guest's INT_STATE when an injection's delivery exits."""

from ..instructions import Cpu
from ..instructions.intercepts import EXITCODES, Intercepted
from ..kvm.hosts import host
from ..kvm.machine import Machine
from ..paths import vmload_before_stgi
from ..processor import Processor
from ..vmcb import Vmcb

_INJECTED = 1 << 31 | 0x30


def _int_state(*, sti_last: bool) -> str:
    machine = Machine(vmload_before_stgi, host("zen3", vcpus=1))
    p = machine.processors[0]
    vmcb = Vmcb(machine.memory, machine.threads[0].vcpu._fields["vmcb_pa"])
    vmcb["EVENTINJ"] = _INJECTED

    def exits_on_delivery(p: Processor, event: object) -> None:
        """The guest's stack is not mapped in the nested tables."""
        raise Intercepted(EXITCODES["NPF"])

    p.on_event = exits_on_delivery
    cpu = Cpu(p)
    cpu.cli()
    cpu.clgi()
    if sti_last:
        cpu.vmload(vmcb.pa)
        cpu.sti()
    else:
        cpu.sti()
        cpu.vmload(vmcb.pa)
    cpu.vmrun(vmcb.pa)
    return "The guest is in an interrupt shadow that is the host's." if vmcb["INT_STATE"] & 1 else ""


def BROKEN() -> str:  # noqa: N802 - the name that every scenario has
    """STI, VMRUN."""
    return _int_state(sti_last=True)


def FIXED() -> str:  # noqa: N802
    """IF set earlier."""
    return _int_state(sti_last=False)
