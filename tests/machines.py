"""Small machines for the tests: one processor in 64-bit mode with a GDT, and paths made of a few lines."""

from types import SimpleNamespace

from svmlib.instructions import Cpu
from svmlib.instructions.segments import descriptor
from svmlib.instructions.svm import INTERCEPT_VMRUN, NESTED_PAGING
from svmlib.memory import DIRECT_MAP, Memory
from svmlib.processor import Processor
from svmlib.trace import Trace
from svmlib.vmcb import Vmcb

SVME, LME, LMA = 1 << 12, 1 << 8, 1 << 10
PE, ET, PG, PAE, FSGSBASE = 1 << 0, 1 << 4, 1 << 31, 1 << 5, 1 << 16
#: Where the tests keep things.
VMCB, PAGE, GDT, LDT, TSS = 0x10000, 0x20000, 0x30000, 0x31000, 0x32000

#: Values at the edges of what is canonical, and what bit 47 makes of them.
EDGES = {
    0x0: 0x0,
    0x7FFF_FFFF_FFFF: 0x7FFF_FFFF_FFFF,
    0x8000_0000_0000: 0xFFFF_8000_0000_0000,
    0xFFFF_FFFF_FFFF: 0xFFFF_FFFF_FFFF_FFFF,
    0xFFFF_7FFF_FFFF_FFFF: 0x7FFF_FFFF_FFFF,
    0xFFFF_8000_0000_0000: 0xFFFF_8000_0000_0000,
    0x8000_0000_0000_0000: 0x0,
    0x1234_5678_9ABC_DEF0: 0x5678_9ABC_DEF0,
    0xFFFF_FFFF_FFFF_FFFF: 0xFFFF_FFFF_FFFF_FFFF,
}
CANONICAL = [value for value, extended in EDGES.items() if value == extended]
NOT_CANONICAL = [value for value, extended in EDGES.items() if value != extended]


def processor(**registers: int) -> Processor:
    """Make a processor in 64-bit mode at CPL 0 with SVME and FSGSBASE on; `registers` come on top."""
    p = Processor(0, Memory(), Trace())
    p.regs.update(
        {
            "EFER": SVME | LME | LMA | 1,
            "CR0": PG | PE | ET,
            "CR4": PAE | FSGSBASE,
            "RFLAGS": 2,
            "GDTR.base": DIRECT_MAP + GDT,
            "GDTR.limit": 0x7F,
        }
    )
    p.regs.update(registers)
    p.trace.start[0] = dict(p.regs)
    return p


def cpu(**registers: int) -> tuple[Cpu, Processor]:
    """Make such a processor and what code on it sees."""
    p = processor(**registers)
    return Cpu(p), p


def describe(p: Processor, selector: int, attrib: int, limit: int, base: int) -> int:
    """Put a descriptor into the GDT (16 bytes where it is a system segment's); return the selector."""
    at = GDT + (selector & ~7)
    p.memory.write(at, descriptor(attrib, limit, base))
    if not attrib & 0x10:
        p.memory.write(at + 8, base >> 32)
    return selector


def legal_vmcb(p: Processor, **fields: int) -> Vmcb:
    """Make a VMCB at VMCB that VMRUN accepts; `fields` come on top, "CS_attrib" for CS.attrib."""
    vmcb = Vmcb(p.memory, VMCB)
    legal = {
        "ASID": 1,
        "MISC_CTL": NESTED_PAGING,
        "INTERCEPT_WORD4": INTERCEPT_VMRUN,
        "EFER": SVME | LME | LMA,
        "CR0": PG | PE | ET,
        "CR4": PAE,
        "CS.attrib": 0xA9B,
    }
    for name, value in (
        legal | {name.replace("_attrib", ".attrib"): v for name, v in fields.items()}
    ).items():
        vmcb[name] = value
    return vmcb


def altered(path, **functions):
    """Take a path's functions, some of them replaced; None leaves one out."""
    names = ("vcpu_load", "prepare_switch_to_guest", "vcpu_enter_exit", "prepare_host_switch")
    names += ("on_user_return", "CARRIES")
    taken = {name: getattr(path, name) for name in names if hasattr(path, name)} | functions
    return SimpleNamespace(__name__="altered", **{n: f for n, f in taken.items() if f is not None})
