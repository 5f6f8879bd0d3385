"""CLI and STI, RDTSCP and RDPID, XGETBV and RDPKRU, loads and stores of the kernel."""

from ..faults import Fault
from ..processor import CR4_TSD, EFER_LMA, RFLAGS_IF, Processor
from .intercepts import intercept
from .msr import require_ring0

#: Bytes that one load or store may move.
SIZES = (1, 2, 4, 8)
#: What `store_register` takes.
GENERAL = ("RAX", "RBX", "RCX", "RDX", "RSI", "RDI", "RBP", "RSP", *(f"R{n}" for n in range(8, 16)))
#: Offset of IST1 in a 64-bit TSS; the seven entries are eight bytes each.
TSS_IST1 = 0x24


def cli(p: Processor) -> None:
    """CLI: clear RFLAGS.IF.  #GP(0) outside ring 0 (IOPL 0)."""
    require_ring0(p, "CLI")
    p.set("CLI", None, None, "RFLAGS", p.regs["RFLAGS"] & ~RFLAGS_IF)


def sti(p: Processor) -> None:
    """STI: set RFLAGS.IF; where it was clear, interrupts come after the next instruction only.

    #GP(0) outside ring 0 (IOPL 0).
    """
    require_ring0(p, "STI")
    flags = p.regs["RFLAGS"]
    if not flags & RFLAGS_IF:
        p.shadow = 1
    p.set("STI", None, None, "RFLAGS", flags | RFLAGS_IF)


def rdtscp(p: Processor) -> int:
    """RDTSCP: return what it puts into ECX, TSC_AUX; the model has no time, so no TSC either.

    #GP(0) outside ring 0 while CR4.TSD is set (emulators-run).
    """
    if p.regs["CPL"] and p.regs["CR4"] & CR4_TSD:
        raise Fault("#GP", f"RDTSCP at CPL {p.regs['CPL']} while CR4.TSD is set", 0)
    if p.intercepts:
        intercept(p, "RDTSCP")
    value = p.regs["TSC_AUX"]
    p.record("RDTSCP", None, value)
    return value & 0xFFFF_FFFF


def rdpid(p: Processor) -> int:
    """RDPID: return TSC_AUX.  #UD on a CPU without it."""
    if not p.features.rdpid:
        raise Fault("#UD", "RDPID on a CPU that has none")
    value = p.regs["TSC_AUX"]
    p.record("RDPID", None, value)
    return value


def load(p: Processor, address: int, size: int = 8) -> int:
    """MOV r, m: return `size` bytes at linear `address`.  #PF where nothing is mapped."""
    if size not in SIZES or type(address) is not int:
        _require_operands("load", size, address)
    value = p.memory.read(p.memory.translate(address, size, 4 if p.regs["CPL"] == 3 else 0), size)
    p.record("MOV r,m", p.symbols.get(address, address), value)
    return value


def store(p: Processor, address: int, value: int, size: int = 8) -> None:
    """MOV m, r: store `size` bytes of `value` at linear `address`.  #PF where nothing is mapped."""
    _require_operands("store", size, address, value)
    _store(p, p.symbols.get(address, address), address, value, size)


def load_fs(p: Processor, offset: int, size: int = 8) -> int:
    """MOV r, fs:[offset]: load `size` bytes at FS.base + `offset`, whoever's base that is."""
    if size not in SIZES or type(offset) is not int:
        _require_operands("load_fs", size, offset)
    return _load_through(p, "FS", offset, size)


def store_fs(p: Processor, offset: int, value: int, size: int = 8) -> None:
    """MOV fs:[offset], r: store the low `size` bytes of `value` at FS.base + `offset`."""
    _require_operands("store_fs", size, offset, value)
    _store_through(p, "FS", offset, value, size)


def store_register(p: Processor, address: int, register: str) -> None:
    """MOV m, r of a general register: store the eight bytes of `register`, say "RBX", at linear `address`."""
    _require_operands("store_register", 8, address)
    if register not in GENERAL:
        raise KeyError(f"no general register {register!r}; there are {', '.join(GENERAL)}")
    _store(p, p.symbols.get(address, address), address, p.regs[register], 8)


def xgetbv(p: Processor) -> int:
    """XGETBV with ECX 0: return XCR0, at any CPL."""
    value = p.regs["XCR0"]
    p.record("XGETBV", None, value)
    return value


def rdpkru(p: Processor) -> int:
    """RDPKRU: return PKRU, at any CPL."""
    value = p.regs["PKRU"]
    p.record("RDPKRU", None, value)
    return value


def load_gs(p: Processor, offset: int, size: int = 8) -> int:
    """MOV r, gs:[offset]: load `size` bytes at GS.base + `offset`, whoever's base that is."""
    if size not in SIZES or type(offset) is not int:
        _require_operands("load_gs", size, offset)
    return _load_through(p, "GS", offset, size)


def store_gs(p: Processor, offset: int, value: int, size: int = 8) -> None:
    """MOV gs:[offset], r: store the low `size` bytes of `value` at GS.base + `offset`."""
    _require_operands("store_gs", size, offset, value)
    _store_through(p, "GS", offset, value, size)


def _load_through(p: Processor, segment: str, offset: int, size: int) -> int:
    address = _linear(p, segment, offset)
    try:
        value = p.memory.read(p.memory.translate(address, size, 4 if p.regs["CPL"] == 3 else 0), size)
    except Fault as fault:
        raise _through(p, segment, offset, fault) from None
    p.record("MOV r,m", _named(p, segment, offset), value)
    return value


def _store_through(p: Processor, segment: str, offset: int, value: int, size: int) -> None:
    try:
        _store(p, _named(p, segment, offset), _linear(p, segment, offset), value, size)
    except Fault as fault:
        raise _through(p, segment, offset, fault) from None


def _linear(p: Processor, segment: str, offset: int) -> int:
    """Add the segment's base; addresses have 32 bits outside long mode."""
    wide = p.regs["EFER"] & EFER_LMA
    return p.regs[f"{segment}.base"] + offset & (0xFFFF_FFFF_FFFF_FFFF if wide else 0xFFFF_FFFF)


def _named(p: Processor, segment: str, offset: int) -> str:
    """Write the operand: what the kernel calls the field there, if anything."""
    return p.symbols.get(-offset - 1) or f"{segment.lower()}:{offset:#x}"


def _require_operands(what: str, size: int, *numbers: int) -> None:
    """Raise ValueError or TypeError where no machine code could ask for this."""
    if size not in SIZES:
        raise ValueError(f"{what}: no instruction moves {size!r} bytes at once; it is 1, 2, 4 or 8")
    for number in numbers:
        if not isinstance(number, int):
            raise TypeError(f"{what}: {number!r} is not a number, and addresses and values are")


def _store(p: Processor, name: str | int, address: int, value: int, size: int) -> None:
    pa = p.memory.translate(address, size, 6 if p.regs["CPL"] == 3 else 2)
    old = p.memory.write(pa, value, size)
    new = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
    p.record("MOV m,r", name, value, (), (), (), ((pa, old, new),))


def _through(p: Processor, segment: str, offset: int, fault: Fault) -> Fault:
    why = f"the load or store of {_named(p, segment, offset)}: {fault.why}"
    return Fault(fault.vector, why, fault.error_code, fault.address)
