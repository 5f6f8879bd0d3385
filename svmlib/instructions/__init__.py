"""The instructions: one function each in svm, msr, segments, system; and `Cpu`, all that a path sees."""

import builtins
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from ..faults import Fault
from ..processor import Processor
from . import msr, segments, svm, system

P = ParamSpec("P")
R = TypeVar("R")


def _instruction(function: Callable[Concatenate[Processor, P], R]) -> "Callable[Concatenate[Cpu, P], R]":
    """Make a method of `Cpu` of an instruction's function; a fault in it goes to the kernel first."""

    @wraps(function)
    def issue(cpu: "Cpu", /, *operands: P.args, **named: P.kwargs) -> R:
        p = cpu._processor
        if p.shutdown:
            raise p.shutdown
        try:
            return function(p, *operands, **named)
        except Fault as fault:
            raise p.fault(fault) from None

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
    sldt = _instruction(segments.sldt)
    lldt = _instruction(segments.lldt)
    str = _instruction(segments.str_)
    ltr = _instruction(segments.ltr)
    load = _instruction(system.load)
    store = _instruction(system.store)
    load_gs = _instruction(system.load_gs)
    store_gs = _instruction(system.store_gs)

    def __repr__(self) -> builtins.str:
        """Name the CPU."""
        return f"CPU {self._processor.index}"
