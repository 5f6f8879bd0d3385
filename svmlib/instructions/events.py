"""INTR, NMI, SMI, INIT and machine checks: when the machine takes them, and where an intercept sends them.

An event waits in `Processor.pending`.  `arrive` looks at it between two instructions.  While GIF is clear all
wait (bochs-svm; for a machine check it is from memory); an interrupt also waits for IF, for the end of the
shadow after STI, and for a task priority below its own (linux-svm-c-2025).  With V_INTR_MASKING the host's IF
and task priority decide, as they were at VMRUN, and the guest's shadow does not (qemu-svm-helper).
"""

from typing import Any

from ..faults import VECTORS, Fault
from ..processor import RFLAGS_IF, Processor
from .intercepts import EXITCODES, Intercepted
from .legality import EVENTINJ_TYPE, EXCEPTION, INTR, NMI, Control

V_GIF, V_INTR_MASKING, V_GIF_ENABLE = 1 << 9, 1 << 24, 1 << 25

#: What waits together is taken in this order.
_ORDER = ("#MC", "INIT", "SMI", "NMI", "INTR")
_EXCEPTION = EXITCODES["EXCEPTION"]
_EXITS = {"#MC": _EXCEPTION + VECTORS["#MC"]} | {name: EXITCODES[name] for name in _ORDER[1:]}
_KINDS = {INTR: "INTR", EXCEPTION: "EXCEPTION"}


def kind(event: Any) -> str:
    """Return an event's name: "NMI", or "INTR" for ("INTR", vector)."""
    return event if isinstance(event, str) else str(event[0])


def takes(p: Processor, event: Any) -> bool:
    """Whether the machine would take `event` before the next instruction."""
    if not p.gif:
        return False
    name = kind(event)
    if name == "NMI":
        return not (p.nmi_masked or (p.shadow and p.options.shadow_holds_nmi))
    if name != "INTR":
        return True
    priority = event[1] >> 4
    masking = p.control and p.control.int_ctl & V_INTR_MASKING
    if priority <= (p.host_cr8 if masking else p.regs["CR8"]):
        return False
    if masking and not p.options.masking_leaves_if:
        return bool(p.host_rflags & RFLAGS_IF)
    return bool(p.regs["RFLAGS"] & RFLAGS_IF) and not p.shadow


def arrive(p: Processor) -> None:
    """Between two instructions: take what waits and may come; an intercepted event ends the guest's run.

    It then goes on waiting, for the host to take it after STGI; a machine check does not.
    """
    while p.on_event or p.intercepts:
        ready = [event for event in p.pending if takes(p, event)]
        if not ready:
            return
        event = min(ready, key=lambda event: _ORDER.index(kind(event)))
        code = _EXITS[kind(event)]
        if p.intercepts >> code & 1:
            if event == "#MC":
                p.pending.remove(event)
            raise Intercepted(code)
        if not p.on_event:
            return
        p.pending.remove(event)
        if event == "NMI":
            p.nmi_masked = True
        p.on_event(p, event)


def after(p: Processor, shadow: int) -> None:
    """An instruction is over that began with `shadow`: the shadow ends, and what waited may come."""
    if shadow:
        p.shadow = 0
    if p.pending:
        arrive(p)


def raised(p: Processor, fault: Fault) -> Exception:
    """Return what the faulting code gets to see; an intercepted exception ends the guest's run.

    EXITINFO1 is the error code, EXITINFO2 a #PF's address; CR2 is then left alone (bochs-svm).
    """
    intercept_fault(p, fault)
    return p.fault(fault)


def intercept_fault(p: Processor, fault: Fault) -> None:
    """End the guest's run if its VMCB intercepts the exception `fault`."""
    if p.intercepts:
        code = _EXCEPTION + VECTORS[fault.vector]
        if p.intercepts >> code & 1:
            raise Intercepted(code, fault.error_code or 0, fault.address or 0)


def inject(p: Processor, control: Control) -> None:
    """Deliver EVENTINJ as the guest's first event; the guest's handler is `on_event`."""
    event = control.eventinj
    vector, type_ = event & 0xFF, event >> EVENTINJ_TYPE & 7
    p.record("EVENTINJ", _KINDS.get(type_, "NMI" if type_ == NMI else "SOFTWARE"), event)
    if type_ == NMI:
        p.nmi_masked = True
    if p.on_event is None:
        return
    if type_ == NMI:
        p.on_event(p, "NMI")
    elif type_ == EXCEPTION:
        p.on_event(p, ("EXCEPTION", vector, event >> 32 if event >> 11 & 1 else 0))
    else:
        p.on_event(p, (_KINDS.get(type_, "SOFTWARE"), vector))
