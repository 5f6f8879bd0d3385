"""The instructions, one function each, by subject; and `Cpu`, all that a path sees.

svm        VMRUN and #VMEXIT, VMSAVE, VMLOAD, CLGI, STGI, VMMCALL, INVLPGA, SKINIT
legality   which VMCBs VMRUN refuses
intercepts what ends a guest's run
events     INTR, NMI, SMI, INIT, #MC, EVENTINJ: when the machine takes them
delivery   how an event or a fault gets to its handler: the IDT's gate, the TSS's stack
sev_es     VMRUN and #VMEXIT of SEV-ES guests
msr        RDMSR, WRMSR
segments   MOV to and from segment registers, SWAPGS, base instructions, LLDT, LTR and their like
control    control and debug registers, LGDT, LIDT and their like
transfers  SYSCALL, SYSRET, SYSENTER, SYSEXIT, IRET
system     CLI, STI, RDTSCP, RDPID, XGETBV, RDPKRU, loads and stores
"""

import builtins
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from ..faults import Fault
from ..processor import Processor
from . import control, events, msr, segments, svm, system, transfers

P = ParamSpec("P")
R = TypeVar("R")


def _instruction(function: Callable[Concatenate[Processor, P], R]) -> "Callable[Concatenate[Cpu, P], R]":
    """Make a method of `Cpu` of an instruction's function; a fault in it goes to the kernel first."""

    @wraps(function)
    def issue(cpu: "Cpu", /, *operands: P.args, **named: P.kwargs) -> R:
        p = cpu._processor
        if p.shutdown:
            raise p.shutdown
        shadow = p.shadow
        try:
            result = function(p, *operands, **named)
        except Fault as fault:
            raise events.raised(p, fault) from None
        if shadow or p.pending:
            events.after(p, shadow)
        if p.between:
            p.between(p)
        return result

    return issue


class Cpu:
    """A logical CPU as code on it sees it: instructions, and nothing else.

    What a path gets as `cpu`.  A register's value is learned by the instruction that reads it, and paid for.
    """

    __slots__ = ("_processor",)

    def __init__(self, processor: Processor):
        """Hand out the instructions of `processor`."""
        self._processor = processor

    rdmsr = _instruction(msr.rdmsr)
    wrmsr = _instruction(msr.wrmsr)
    vmsave = _instruction(svm.vmsave)
    vmload = _instruction(svm.vmload)
    vmrun = _instruction(svm.vmrun)
    clgi = _instruction(svm.clgi)
    stgi = _instruction(svm.stgi)
    cli = _instruction(system.cli)
    sti = _instruction(system.sti)
    swapgs = _instruction(segments.swapgs)
    rdfsbase = _instruction(segments.rdfsbase)
    rdgsbase = _instruction(segments.rdgsbase)
    wrfsbase = _instruction(segments.wrfsbase)
    wrgsbase = _instruction(segments.wrgsbase)
    mov_from_sreg = _instruction(segments.mov_from_sreg)
    mov_to_sreg = _instruction(segments.mov_to_sreg)
    lsl = _instruction(segments.lsl)
    sldt = _instruction(segments.sldt)
    lldt = _instruction(segments.lldt)
    vmmcall = _instruction(svm.vmmcall)
    invlpga = _instruction(svm.invlpga)
    skinit = _instruction(svm.skinit)
    lgdt = _instruction(control.lgdt)
    lidt = _instruction(control.lidt)
    sgdt = _instruction(control.sgdt)
    sidt = _instruction(control.sidt)
    mov_from_cr = _instruction(control.mov_from_cr)
    mov_to_cr = _instruction(control.mov_to_cr)
    mov_from_dr = _instruction(control.mov_from_dr)
    mov_to_dr = _instruction(control.mov_to_dr)
    syscall = _instruction(transfers.syscall)
    sysret = _instruction(transfers.sysret)
    sysenter = _instruction(transfers.sysenter)
    sysexit = _instruction(transfers.sysexit)
    iret = _instruction(transfers.iret)
    rdtscp = _instruction(system.rdtscp)
    rdpid = _instruction(system.rdpid)
    str = _instruction(segments.str_)
    ltr = _instruction(segments.ltr)
    load = _instruction(system.load)
    store = _instruction(system.store)
    xgetbv = _instruction(system.xgetbv)
    rdpkru = _instruction(system.rdpkru)
    store_register = _instruction(system.store_register)
    load_fs = _instruction(system.load_fs)
    store_fs = _instruction(system.store_fs)
    load_gs = _instruction(system.load_gs)
    store_gs = _instruction(system.store_gs)

    def __repr__(self) -> builtins.str:
        """Name the CPU."""
        return f"CPU {self._processor.index}"
