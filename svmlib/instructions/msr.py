"""RDMSR and WRMSR, and the rules by which each register takes a value (data/registers.csv, column write)."""

from ..faults import Fault
from ..memory import MAXPHYADDR, PAGE, is_canonical
from ..processor import CR0_PG, CR4_LA57, EFER_LMA, EFER_LME, EFER_SVME, Processor
from ..registers import BY_MSR, Register
from .intercepts import Intercepted

_LOW32 = 0xFFFF_FFFF
#: EFER bits that exist here: SCE, LME, LMA, NXE, SVME.  FFXSR and LMSLE are left out.
EFER_BITS = 1 << 0 | EFER_LME | EFER_LMA | 1 << 11 | EFER_SVME
#: VM_CR: LOCK makes SVMDIS read-only, and SVMDIS keeps EFER.SVME from being set.
_VM_CR_LOCK, _VM_CR_SVMDIS = 1 << 3, 1 << 4
#: Memory types that a byte of PAT may name: UC, WC, WT, WP, WB, UC-.
PAT_TYPES = frozenset((0, 1, 4, 5, 6, 7))
#: The permission map: the first MSR of each range of 8192, and where its bits begin; two bits an MSR.
_MSRPM = ((0x0000_0000, 0x0000), (0xC000_0000, 0x0800), (0xC001_0000, 0x1000))
_MSR_PROT = 0x7C


def require_ring0(p: Processor, what: str) -> None:
    """Raise #GP(0) unless CPL is 0."""
    if p.regs["CPL"]:
        raise Fault("#GP", f"{what} at CPL {p.regs['CPL']}; it is for ring 0", 0)


def linear_bits(p: Processor) -> int:
    """How many bits a linear address has: 57 while CR4.LA57 is set, else 48."""
    return 57 if p.regs["CR4"] & CR4_LA57 and p.features.la57 else 48


def rdmsr(p: Processor, msr: int) -> int:
    """RDMSR: return the MSR whose number is `msr`, say MSR.LSTAR.

    #GP(0) outside ring 0, then the intercept, then #GP(0) for a number that is no MSR here (bochs-msr).
    """
    require_ring0(p, "RDMSR")
    if p.intercepts:
        permission(p, msr, 0)
    row = BY_MSR.get(msr)
    if row is None or not _exists(p, row):
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
    if p.intercepts:
        permission(p, msr, 1)
    row = BY_MSR.get(msr)
    if row is None or not _exists(p, row):
        raise _unknown("WRMSR", msr)
    p.set("WRMSR", row.msr_name, value, row.name, _accepted(p, row, value))


def permission(p: Processor, msr: int, write: int) -> None:
    """End the guest's run where its permission map wants it: always for an MSR the map has no bit for."""
    if not p.intercepts >> _MSR_PROT & 1:
        return
    if place := permission_bit(msr, write):
        byte, bit = place
        if not p.memory.read((p.control.msrpm & -0x1000) + byte, 1) >> bit & 1:
            return
    raise Intercepted(_MSR_PROT, write)


def permission_bit(msr: int, write: int) -> tuple[int, int] | None:
    """Return byte and bit of a permission map for reads, or writes, of `msr`; None if it has none."""
    for first, offset in _MSRPM:
        if first <= msr < first + 0x2000:
            return divmod(8 * offset + 2 * (msr - first) + write, 8)
    return None


def _exists(p: Processor, row: Register) -> bool:
    return row.msr_name != "FRED_RSP0" or bool(p.features.fred)


def _accepted(p: Processor, row: Register, value: int) -> int:
    """Return what register `row` holds once `value` is written, or raise #GP(0)."""
    if not isinstance(value, int) or value >> 64:
        raise Fault("#GP", f"WRMSR {row.msr_name}: {value!r} is not a 64-bit number (0 to 2**64 - 1)", 0)
    rule = row.write
    if rule == "sysenter":
        rule = _sysenter_rule(p)
    if rule == "low32":
        return value & _LOW32
    if rule == "canonical" and not is_canonical(value, linear_bits(p)):
        raise Fault(
            "#GP",
            f"WRMSR {row.msr_name}: {value:#x} is not canonical "
            f"(bits 63 to {linear_bits(p) - 1} must be alike)",
            0,
        )
    if rule == "page" and (value % PAGE or value >> MAXPHYADDR):
        raise Fault("#GP", f"WRMSR {row.msr_name}: {value:#x} is not the address of a 4 KiB page", 0)
    if rule == "efer":
        return _accepted_efer(p, value)
    if rule == "pat" and not PAT_TYPES.issuperset(value.to_bytes(8, "little")):
        raise Fault("#GP", f"WRMSR PAT: {value:#x} names a memory type that does not exist", 0)
    if rule == "vm_cr":
        return _accepted_vm_cr(p, value)
    return value


def _sysenter_rule(p: Processor) -> str:
    if p.options.sysenter_raw:
        return "any"
    return "canonical" if p.options.sysenter_canonical or not p.features.sysenter32 else "low32"


def _accepted_efer(p: Processor, value: int) -> int:
    efer = p.regs["EFER"]
    if reserved := value & ~EFER_BITS:
        raise Fault("#GP", f"WRMSR EFER: {reserved:#x} are reserved bits", 0)
    if (value ^ efer) & EFER_LME and p.regs["CR0"] & CR0_PG:
        raise Fault("#GP", "WRMSR EFER: LME cannot change while paging is on", 0)
    if value & EFER_SVME and p.regs["VM_CR"] & _VM_CR_SVMDIS:
        raise Fault("#GP", "WRMSR EFER: VM_CR.SVMDIS keeps SVME from being set", 0)
    return value & ~EFER_LMA | efer & EFER_LMA


def _accepted_vm_cr(p: Processor, value: int) -> int:
    held = p.regs["VM_CR"]
    if value & ~0x1F:
        raise Fault("#GP", f"WRMSR VM_CR: {value & ~0x1F:#x} are reserved bits", 0)
    if value & _VM_CR_SVMDIS and p.regs["EFER"] & EFER_SVME:
        raise Fault("#GP", "WRMSR VM_CR: SVMDIS cannot be set while EFER.SVME is", 0)
    fixed = _VM_CR_LOCK | _VM_CR_SVMDIS if held & _VM_CR_LOCK else 0
    return value & ~fixed | held & fixed


def _unknown(instruction: str, msr: int) -> Fault:
    shown = f"{msr:#x}" if isinstance(msr, int) else repr(msr)
    return Fault("#GP", f"{instruction} {shown}: no such MSR; svmlib.registers.MSR lists those there are", 0)
