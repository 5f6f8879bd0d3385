"""V_TSC_AUX was set up before the guest's CPUID was known: its WRMSR exits, and the VMSA is stale."""

from ..instructions import Cpu
from ..instructions.intercepts import EXITCODES
from ..instructions.sev_es import ROWS
from ..kvm.hosts import host
from ..kvm.machine import Machine
from ..memory import PAGE
from ..paths import vmload_before_stgi
from ..processor import Processor
from ..registers import MSR
from ..vmcb import Vmcb

#: Where the MSR permission map lies: a byte holds four MSRs, those from C000_0000 begin at 0x800.
MSRPM = 0x601_0000
_AT = MSRPM + 0x800 + (MSR.TSC_AUX - 0xC000_0000) // 4
_BITS = 0b11 << 2 * (MSR.TSC_AUX % 4)
WANTED = 0x77


def _guest_writes_tsc_aux(*, intercepted: bool) -> str:
    """Let an SEV-ES guest write TSC_AUX, and read it after its next entry."""
    machine = Machine(vmload_before_stgi, host("sev_es+v_tsc_aux", seed=1))
    p, memory = machine.processors[0], machine.memory
    vmcb = Vmcb(memory, machine.threads[0].vcpu._fields["vmcb_pa"])
    for page in range(2):
        memory.page(MSRPM + page * PAGE)
    vmcb["INTERCEPTS"] |= 1 << EXITCODES["MSR"]
    vmcb["MSRPM_BASE"] = MSRPM
    memory.write(_AT, _BITS if intercepted else 0, 1)
    seen = []

    def guest(p: Processor, vmcb_pa: int) -> int:
        seen.append(p.regs["TSC_AUX"])
        if len(seen) == 1:
            Cpu(p).wrmsr(MSR.TSC_AUX, WANTED)
        return EXITCODES["VMMCALL"]

    p.guest = guest
    cpu = Cpu(p)
    cpu.vmrun(vmcb.pa)
    # The exit, if there was one: KVM keeps the value for its own, and steps over the instruction.
    cpu.vmrun(vmcb.pa)
    return "" if seen[1] == WANTED else f"The guest wrote {WANTED:#x} to TSC_AUX and reads {seen[1]:#x}."


def BROKEN() -> str:  # noqa: N802 - the name that every scenario has
    """The permission map as it was before KVM_SET_CPUID2."""
    return _guest_writes_tsc_aux(intercepted=True)


def FIXED() -> str:  # noqa: N802
    """Set up once the guest's CPUID is known."""
    return _guest_writes_tsc_aux(intercepted=False)


assert any(row.name == "TSC_AUX" for row in ROWS), "TSC_AUX is of type B"
