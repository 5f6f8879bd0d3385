"""Guests that run guests: L1's VMRUN and the way back, and who may execute VMLOAD and VMSAVE.

VMRUN moves no more for L1 than for a host: FS, GS, TR and the rest of VMSAVE's set belong to L1 and L2
together, and L1 moves them by VMLOAD and VMSAVE of its own.  So KVM exchanges one half only.  Until 2021 it
kept L1's half in a page aside and ran both out of one VMCB ("hsave"); since then each level has one, vmcb01
and vmcb02, and VMSAVE's set lies in vmcb01 always (commit-cc3ed80ae69f).

L2 must not execute VMLOAD and VMSAVE itself: without interception they take host-physical addresses, and what
L1 asks for does not count (commit-c7dfa4009965, CVE-2021-3656, B10).  What KVM emulates for L2 it does on
vmcb01 (commit-127ccae2c185, B12).  For L1 the machine may do it, through the nested page tables.
"""

from typing import TYPE_CHECKING

from ..instructions.intercepts import EXITCODES
from ..instructions.msr import linear_bits
from ..instructions.svm import (
    NESTED_PAGING,
    VIRTUAL_VMLOAD,
    VMRUN_SET,
    VMSAVE_SET,
    vmload,
    vmload_image,
    vmsave,
)
from ..memory import PAGE, Memory
from ..processor import Processor
from ..vmcb import Layout, Vmcb
from . import guest
from .exits import NESTED_KINDS
from .host import VMCBS, Host
from .invariants import describe
from .percpu import SAVE_AREA

if TYPE_CHECKING:
    from .machine import Machine, Thread

#: A nested guest's pages, counted from its VMCB: vmcb02, L1's half kept aside, the VMCB that L1 made.
_VMCB02, _HSAVE, _VMCB12 = 0x10_0000, 0x20_0000, 0x30_0000
#: Its memory, 2 MiB that nested page tables map from guest-physical 0 on, and those tables, a page each.
_MEMORY, _MEMORY_SIZE, _TABLES = 0x600_0000, 0x20_0000, 0x580_0000
#: The guest-physical page that the guest uses with VMLOAD and VMSAVE.
GUEST_PAGE = 0x5000
_MOVED = 1 << EXITCODES["VMLOAD"] | 1 << EXITCODES["VMSAVE"]
_HALF = tuple(guest.REACH.index(name) for name in VMRUN_SET.names)
_SHARED = tuple(guest.REACH.index(name) for name in VMSAVE_SET.names)


def set_up(memory: Memory, number: int, host: Host) -> dict[str, int]:
    """Make what a nested guest needs beside its VMCB; return the vCPU's field that says where vmcb01 is."""
    vmcb01_pa = VMCBS + PAGE * number | memory.c_bit
    if host.nested:
        vmcb01 = Vmcb(memory, vmcb01_pa)
        vmcb01["INTERCEPTS"] |= _MOVED
        second = dict(zip(guest.REACH, second_states(host, number)[-1], strict=True))
        for page in (_VMCB02, _VMCB12):
            other = Vmcb(memory, vmcb01_pa + page)
            other["ASID"] = number + 0x80
            other["MISC_CTL"] = vmcb01["MISC_CTL"]
            other["INTERCEPTS"] = vmcb01["INTERCEPTS"] & ~(_MOVED if "B10" in host.bugs else 0)
            for name in VMRUN_SET.names:
                other[name] = second[name]
        if host.virtual_vmload:
            _nested_paging(memory, vmcb01, number)
    return {"vmcb01_pa": vmcb01_pa}


def second_states(host: Host, number: int) -> tuple[tuple[int, ...], ...]:
    """Return the states of vCPU `number`'s L2, in the order of guest.REACH; it begins with the last."""
    return guest.states(host.seed, number + 0x80)


def other_half(host: Host, number: int) -> tuple[int, ...]:
    """Return the half of vCPU `number`'s L2 that VMRUN carries, as it is at first; nothing without an L2."""
    second = second_states(host, number)[-1] if host.nested else ()
    return tuple([second[at] for at in _HALF]) if second else ()


def _nested_paging(memory: Memory, vmcb01: Vmcb, number: int) -> None:
    """Let L1 execute VMLOAD and VMSAVE: its 2 MiB behind nested page tables."""
    tables = _TABLES + 0x4000 * number
    memory.write(tables, tables + PAGE | 7)
    memory.write(tables + PAGE, tables + 2 * PAGE | 7)
    memory.write(tables + 2 * PAGE, _memory(number) | 0x87)
    vmcb01["MISC_CTL"], vmcb01["MISC_CTL2"] = NESTED_PAGING, VIRTUAL_VMLOAD
    vmcb01["NESTED_CR3"] = tables
    vmcb01["INTERCEPTS"] &= ~_MOVED


def _memory(number: int) -> int:
    return _MEMORY + _MEMORY_SIZE * number


def execute(machine: "Machine", thread: "Thread", p: Processor, kind: str) -> int:
    """Let the guest do what `kind` says; Intercepted where it does not get to do it.

    Returns the EXITCODE that it leaves with afterwards.
    """
    if kind == "nested":
        return NESTED_KINDS[kind]
    if kind == "vmload":
        vmload(p, GUEST_PAGE)
        thread.left = guest.values(p.regs)
        return EXITCODES["CPUID"]
    of_host = machine.kernel.own_pa(machine, p) + SAVE_AREA
    vmsave(p, of_host if kind == "escape" else GUEST_PAGE)
    ((at, _, _),) = machine.trace[-1].memory
    if not 0 <= at - _memory(thread.number) < _MEMORY_SIZE:
        why = "The guest's VMSAVE wrote into the host's memory: nobody intercepted it (CVE-2021-3656)."
        machine.violate("isolation", p, "", why)
    return EXITCODES["CPUID"]


def handle(machine: "Machine", thread: "Thread", p: Processor, kind: str) -> None:
    """KVM's handling of the exit: enter L2, leave it, or emulate VMLOAD and VMSAVE where they exited."""
    exitcode = Vmcb(machine.memory, thread.vcpu._fields["vmcb_pa"])["EXITCODE"]
    if exitcode == EXITCODES["VMRUN"]:
        _leave_l2(machine, thread, p) if thread.l2 else _enter_l2(machine, thread, p)
        half, thread.other = thread.other, tuple(thread.left[at] for at in _HALF)
        thread.left = _with(thread.left, _HALF, half)
        thread.l2 = not thread.l2
    elif kind in ("vmload", "vmsave") and exitcode == NESTED_KINDS[kind]:
        vmload_vmsave_interception(machine, thread, p, kind)
    if kind == "vmsave":
        _stored_its_own(machine, thread, p)


def _enter_l2(machine: "Machine", thread: "Thread", p: Processor) -> None:
    """nested_svm_vmrun(): L2's half out of the VMCB that L1 made; L1's stays in vmcb01, or goes aside."""
    vmcb01 = thread.vcpu._fields["vmcb01_pa"]
    if machine.host.nested == "hsave":
        _copy(machine, p, "nested VMRUN", VMRUN_SET, vmcb01, vmcb01 + _HSAVE)
        _copy(machine, p, "nested VMRUN", VMRUN_SET, vmcb01 + _VMCB12, vmcb01)
    else:
        _copy(machine, p, "nested VMRUN", VMRUN_SET, vmcb01 + _VMCB12, vmcb01 + _VMCB02)
        thread.vcpu.vmcb_pa = vmcb01 + _VMCB02


def _leave_l2(machine: "Machine", thread: "Thread", p: Processor) -> None:
    """nested_svm_vmexit(): L2's half into the VMCB that L1 made, and L1's again."""
    vmcb01 = thread.vcpu._fields["vmcb01_pa"]
    if machine.host.nested == "hsave":
        _copy(machine, p, "nested #VMEXIT", VMRUN_SET, vmcb01, vmcb01 + _VMCB12)
        _copy(machine, p, "nested #VMEXIT", VMRUN_SET, vmcb01 + _HSAVE, vmcb01)
    else:
        _copy(machine, p, "nested #VMEXIT", VMRUN_SET, vmcb01 + _VMCB02, vmcb01 + _VMCB12)
        thread.vcpu.vmcb_pa = vmcb01


def vmload_vmsave_interception(machine: "Machine", thread: "Thread", p: Processor, kind: str) -> None:
    """vmload_vmsave_interception(): do what the guest asked for, on vmcb01 and the guest's page."""
    fields = thread.vcpu._fields
    vmcb = fields["vmcb_pa"] if "B12" in machine.host.bugs else fields["vmcb01_pa"]
    page = _memory(thread.number) + GUEST_PAGE
    if kind == "vmsave":
        _copy(machine, p, "emulated VMSAVE", VMSAVE_SET, vmcb, page)
        return
    _copy(machine, p, "emulated VMLOAD", VMSAVE_SET, page, vmcb)
    image = VMSAVE_SET.image(machine.memory.page(page))
    thread.left = _with(thread.left, _SHARED, vmload_image(image, p.options, linear_bits(p))[0])


def _copy(machine: "Machine", p: Processor, event: str, layout: Layout, source: int, target: int) -> None:
    values = layout.read(layout.image(machine.memory.page(source)))
    p.record(event, target, memory=layout.write(machine.memory.page(target), values, target))


def _with(state: tuple[int, ...], at: tuple[int, ...], values: tuple[int, ...]) -> tuple[int, ...]:
    new = list(state)
    for index, value in zip(at, values, strict=True):
        new[index] = value
    return tuple(new)


def _stored_its_own(machine: "Machine", thread: "Thread", p: Processor) -> None:
    """Look, as the guest does, whether its page holds its registers after its VMSAVE."""
    page = machine.memory.page(_memory(thread.number) + GUEST_PAGE)
    found = VMSAVE_SET.read(VMSAVE_SET.image(page))
    for name, value, index in zip(VMSAVE_SET.names, found, _SHARED, strict=True):
        if value != thread.left[index]:
            why = f"The guest's VMSAVE stored a {name} that is not its own: {value:#x}."
            machine.violation = describe(machine, p, "guest_state", name, why, thread.left[index])
            machine.end()
