"""RDMSR and WRMSR, and the rules by which each register takes a value (data/registers.csv, column write)."""

from ..faults import Fault
from ..memory import MAXPHYADDR, PAGE, is_canonical
from ..processor import CR0_PG, EFER_LME, EFER_SVME, Processor
from ..registers import BY_MSR, Register

_LOW32 = 0xFFFF_FFFF
_EFER_LMA = 1 << 10
#: EFER bits that exist here: SCE, LME, LMA, NXE, SVME.  FFXSR and LMSLE are left out.
EFER_BITS = 1 << 0 | EFER_LME | _EFER_LMA | 1 << 11 | EFER_SVME
#: Memory types that a byte of PAT may name: UC, WC, WT, WP, WB, UC-.
_PAT_TYPES = frozenset((0, 1, 4, 5, 6, 7))


def require_ring0(p: Processor, what: str) -> None:
    """Raise #GP(0) unless CPL is 0."""
    if p.regs["CPL"]:
        raise Fault("#GP", f"{what} at CPL {p.regs['CPL']}; it is for ring 0", 0)


def rdmsr(p: Processor, msr: int) -> int:
    """RDMSR: return the MSR whose number is `msr`, say MSR.LSTAR.

    #GP(0) outside ring 0 and for a number that is no MSR here (bochs-msr).
    """
    require_ring0(p, "RDMSR")
    row = BY_MSR.get(msr)
    if row is None:
        raise _unknown("RDMSR", msr)
    value = p.regs[row.name]
    p.record("RDMSR", row.msr_name, value)
    return value


def wrmsr(p: Processor, msr: int, value: int) -> None:
    """WRMSR: write `value` to the MSR whose number is `msr`.

    #GP(0) outside ring 0, for an unknown number, and where the register refuses the value: a base or entry
    point that is not canonical, a VM_HSAVE_PA that is no page, a reserved bit of EFER or a change of its LME
    while paging is on, a PAT with a memory type that does not exist.  SFMASK, TSC_AUX and AMD's SYSENTER
    registers keep the low 32 bits, EFER.LMA is the processor's own (bochs-msr, linux-cpu-common).
    """
    require_ring0(p, "WRMSR")
    row = BY_MSR.get(msr)
    if row is None:
        raise _unknown("WRMSR", msr)
    p.set("WRMSR", row.msr_name, value, row.name, _accepted(p, row, value))


def _accepted(p: Processor, row: Register, value: int) -> int:
    """Return what register `row` holds once `value` is written, or raise #GP(0)."""
    if not isinstance(value, int) or value >> 64:
        raise Fault("#GP", f"WRMSR {row.msr_name}: {value!r} is not a 64-bit number (0 to 2**64 - 1)", 0)
    rule = row.write
    if rule == "low32":
        return value & _LOW32
    if rule == "canonical" and not is_canonical(value):
        raise Fault(
            "#GP", f"WRMSR {row.msr_name}: {value:#x} is not canonical (bits 63 to 47 must be alike)", 0
        )
    if rule == "page" and (value % PAGE or value >> MAXPHYADDR):
        raise Fault("#GP", f"WRMSR {row.msr_name}: {value:#x} is not the address of a 4 KiB page", 0)
    if rule == "efer":
        return _accepted_efer(p, value)
    if rule == "pat" and not _PAT_TYPES.issuperset(value.to_bytes(8, "little")):
        raise Fault("#GP", f"WRMSR PAT: {value:#x} names a memory type that does not exist", 0)
    return value


def _accepted_efer(p: Processor, value: int) -> int:
    efer = p.regs["EFER"]
    if reserved := value & ~EFER_BITS:
        raise Fault("#GP", f"WRMSR EFER: {reserved:#x} are reserved bits", 0)
    if (value ^ efer) & EFER_LME and p.regs["CR0"] & CR0_PG:
        raise Fault("#GP", "WRMSR EFER: LME cannot change while paging is on", 0)
    return value & ~_EFER_LMA | efer & _EFER_LMA


def _unknown(instruction: str, msr: int) -> Fault:
    shown = f"{msr:#x}" if isinstance(msr, int) else repr(msr)
    return Fault("#GP", f"{instruction} {shown}: no such MSR; svmlib.registers.MSR lists those there are", 0)
