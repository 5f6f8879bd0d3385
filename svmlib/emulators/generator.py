"""Random programs: operands are biased to the values at which rules change.

What no emulator or the runtime would survive is left out: breakpoints (enable bits of DR7), CR0.PE, PG and CR4.PAE
cleared, SMEP and SMAP, VME and PVI (virtual interrupts, which the model has not), MOV to CR3 and CR4 with reserved bits, a GDT or IDT without what the runtime needs, SKINIT,
and ways to CPL 3 in a guest whose VMCB intercepts what the runtime executes on the way.
"""

from random import Random
from typing import NamedTuple

from ..instructions.intercepts import EXITCODES
from ..instructions.msr import permission_bit
from ..registers import BY_MSR, MSR, REGISTERS
from ..vmcb import CONTROL
from . import layout as at
from .programs import Operation, Program

_BASES = (
    0,
    1,
    at.linear(at.HOST),
    at.linear(at.GUEST) + 0x440,
    (1 << 47) - 1,
    1 << 47,
    -(1 << 47),
    -(1 << 47) - 1,
    1 << 48,
    0x1234_8000_0000_0000,
    0x8000_0000_0000_0000,
    0x7FFF_FFFF_FFFF_FFFF,
    -1,
    0xFFFF_FFFF,
    0x1_0000_0000,
    0x5555_AAAA_5555_AAAA,
)
_NUMBERS = (*_BASES, 0xFFFF, 0x1_0000, 0x1234_5678, 0xFFFF_FFFF_0000_0000)
_SELECTORS = (*(entry[0] for entry in at.DESCRIPTORS), 0xD8, 0x1000, 0xFFF8)
_LDT_SELECTORS = (0x04, 0x0C, 0x14, 0x1C)
_CODES = (0x08, 0x08, 0x1B, 0x1B, 0xCB, 0x80, 0x88, 0x8B)
_STACKS = (0x10, 0x10, 0x23, 0x23, 0x68, 0x7B, 0x93, 0x00, 0x03)
_PAGES = (at.HOST, at.GUEST, at.SPARE)
_BAD_PAGES = (at.HOST + 1, at.GUEST + 0x800, 1 << 40, 1 << 63, at.HOST | 1 << 52, 0xFFF)
_MSRS = tuple(
    getattr(MSR, name)
    for name in (
        *("FS_BASE", "GS_BASE", "KERNEL_GS_BASE", "STAR", "LSTAR", "CSTAR", "SFMASK"),
        *("SYSENTER_CS", "SYSENTER_ESP", "SYSENTER_EIP", "TSC_AUX", "VM_HSAVE_PA", "PAT"),
    )
)
_UNKNOWN_MSR = 0xC000_0105
_EFERS = (at.EFER, at.EFER & ~1, at.EFER & ~0x1000, at.EFER & ~0x1000, at.EFER | 1 << 20, at.EFER & ~0x800)
_PAT = at.REGISTERS_AT_START["PAT"]
_PATS = (_PAT, 0, 0x0106_0504_0701_0006, _PAT | 2, _PAT | 0xFF << 56)
#: CR0: MP, EM, TS, NE, WP, AM, CD, NW in turn; NW alone and bits 63 to 32 are illegal, the rest reserved.
_CR0S = (
    *(at.CR0 ^ bit for bit in (1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 5, 1 << 16, 1 << 18, 1 << 30, 3 << 29)),
    *(at.CR0 | bit for bit in (1 << 29, 1 << 32, 1 << 63, 1 << 15, 1 << 28)),
)
#: CR4: FSGSBASE mostly; TSD, DE, PSE, MCE, PGE, PCE, OSXMMEXCPT.
_CR4S = tuple(at.CR4 ^ bit for bit in (0, 0x1_0000, 0x1_0000, 4, 8, 0x10, 0x40, 0x80, 0x100, 0x400))
_VALUES = {
    0: _CR0S,
    2: _NUMBERS,
    3: (at.PML4, at.PML4 | 8, at.PML4 | 0x18, at.PML4 | 0xFE7),
    4: _CR4S,
    8: (0, 3, 4, 5, 15, 16, 1 << 32),
}
_LOW_PRIORITIES = (0, 3, 16, 1 << 32)
_DR6S = (at.DR6, 0, at.DR6 | 0xF, at.DR6 | 0xE000, 0x1000, 1 << 32, 1 << 63)
_DR7S = (at.DR7, 0, 0xFFFF_0400, 0x700, 0xD800, 1 << 32, 1 << 63)
_TABLE_BASES = (at.linear(at.TABLES), at.linear(at.TABLES_OTHER), at.linear(at.TABLES_OTHER))
_IDT_BASES = (at.linear(at.IDT), at.linear(at.IDT_OTHER), at.linear(at.IDT_OTHER))
_NOT_CANONICAL = (0x1234_8000_0000_0000, 1 << 47, -(1 << 47) - 1, 1 << 63)

#: VMCB fields that a guest can be started with otherwise, and values.
_GUEST_FIELDS = (
    ("CR0", tuple(value for value in _CR0S[:9])),
    ("CR2", (0, 0x1234_5000, -1)),
    ("CR4", (at.CR4 & ~0x1_0000, at.CR4, at.CR4 & ~0x1_0000)),
    ("DR6", (at.DR6 | 1, at.DR6 | 0x4000)),
    ("DR7", (0, 0xFFFF_0400)),
    ("RFLAGS", (2, 0x202, 0x202)),
    ("RFLAGS", (2, 0x202, 0x202)),
    ("PAT", _PATS[:3]),
    ("ES.base", (1 << 47, 0x1234_5678)),
    ("DS.selector", (0, 3, 0x10)),
    ("GDTR.base", (at.linear(at.TABLES_OTHER),)),
    ("INT_STATE", (0, 1, 1)),
    ("INT_CTL", (0, 1 << 24, 1 << 24 | 5, 3, 1 << 25, 3 << 24)),
    ("INT_CTL", (1 << 24, 1 << 24 | 5)),
)
_EVENTS_CODE = tuple(1 << 31 | 1 << 11 | 3 << 8 | vector for vector in (8, 10, 11, 12, 13, 14))
#: EVENTINJ: interrupt, NMI, software interrupt; exceptions without and with an error code.
_EVENTS = (
    *(1 << 31 | 0x40, 1 << 31 | 0x40, 1 << 31 | 2 << 8 | 2, 1 << 31 | 4 << 8 | 0x40, 0x40),
    *(1 << 31 | 3 << 8 | vector for vector in (0, 1, 6, 7, 16, 19)),
    *(event | code << 32 for event in _EVENTS_CODE for code in (0, 0x18)),
)
#: Check of data/vmrun_checks.csv -> fields that fail it, and values.  Bochs panics at CR0.PE without which it
#: has long mode; the runtime has no mode without paging.
ILLEGAL: dict[str, tuple[tuple[str, tuple[int, ...]], ...]] = {
    "intercept": (("INTERCEPT_WORD4", (2,)),),
    "asid": (("ASID", (0,)),),
    "efer_svme": (("EFER", (at.EFER & ~0x1000,)),),
    "efer_reserved": (("EFER", (at.EFER | 1 << 20, at.EFER | 1 << 63)),),
    "cr0_high": (("CR0", (at.CR0 | 1 << 32, at.CR0 | 1 << 63)),),
    "cr0_nw": (("CR0", (at.CR0 | 1 << 29,)),),
    "cr4_high": (("CR4", (at.CR4 | 1 << 32, at.CR4 | 1 << 63)),),
    "cr4_reserved": (("CR4", (at.CR4 | 1 << 13, at.CR4 | 1 << 24, at.CR4 | 1 << 12)),),
    "dr6_high": (("DR6", (at.DR6 | 1 << 32, at.DR6 | 1 << 63)),),
    "dr7_high": (("DR7", (at.DR7 | 1 << 32, at.DR7 | 1 << 63)),),
    "long_pae": (("CR4", (at.CR4 & ~0x20,)),),
    "long_pe": (),
    "long_cs": (("CS.attrib", (0xE9B,)),),
    "cr3_reserved": (("CR3", (at.PML4 | 1 << 52, at.PML4 | 1 << 63)),),
    "msrpm": (("MSRPM_BASE", (1 << 40, (1 << 40) - 0x1000, (1 << 40) - 0x2000)), ("INTERCEPT_WORD3", (1 << 28,))),
    "iopm": (("IOPM_BASE", (1 << 40, (1 << 40) - 0x1000, (1 << 40) - 0x2000, (1 << 40) - 0x3000)), ("INTERCEPT_WORD3", (1 << 27,))),
    "eventinj": (
        ("EVENTINJ", (1 << 31 | 1 << 8, 1 << 31 | 5 << 8 | 6, 1 << 31 | 3 << 8 | 2, 1 << 31 | 3 << 8 | 40)),
    ),
    "nested_paging": (),
    "pat": (("PAT", (_PAT | 2, _PAT | 0xFF << 56)),),
}


class _Intercept(NamedTuple):
    """A bit of the VMCB's intercepts, and operations that meet it; `alone`: no way to CPL 3 beside it."""

    code: int
    meets: tuple[Operation, ...]
    alone: bool = False


def _intercepts() -> list[_Intercept]:
    """What a guest may have intercepted.  SKINIT is never executed, so its bit would tell nothing."""
    chosen = [
        _Intercept(EXITCODES[kind] + n, ((f"mov_{way}_{kind[:2].lower()}", n, *value),))
        for kind, way, value in (
            *(("CR_READ", "from", ()), ("DR_READ", "from", ())),
            *(("CR_WRITE", "to", (0,)), ("DR_WRITE", "to", (0,))),
        )
        for n in ((0, 2, 3, 4, 8) if kind[0] == "C" else (0, 1, 2, 3, 6, 7))
    ]
    exceptions = (
        (6, ("rdpid",)),
        (11, ("mov_to_sreg", "FS", 0x70)),
        (12, ("mov_to_sreg", "SS", 0x70)),
        (13, ("ltr", 0)),
        (14, ("load", 0x1000, 8)),
    )
    chosen += [_Intercept(EXITCODES["EXCEPTION"] + vector, (meets,)) for vector, meets in exceptions]
    chosen += 3 * [_Intercept(EXITCODES["INTR"], (("sti",), ("intr",), ("sti",)))]
    chosen += 2 * [_Intercept(EXITCODES["NMI"], (("nmi",),))]
    tables = ("sidt", "sgdt", "sldt", "str", "lidt", "lgdt", "lldt", "ltr")
    operands: dict[str, tuple[int, ...]] = {
        "lidt": (at.IDT_LIMIT, _IDT_BASES[1]),
        "lgdt": (at.GDT_LIMIT, _TABLE_BASES[1]),
        "lldt": (0x48,),
        "ltr": (0x38,),
    }
    chosen += [_Intercept(EXITCODES[name.upper()], ((name, *operands.get(name, ())),)) for name in tables]
    chosen += [
        _Intercept(EXITCODES["IRET"], (("iret", 0x08, 0x10),)),
        _Intercept(EXITCODES["INVLPGA"], (("invlpga", 0, 1),)),
        _Intercept(EXITCODES["RDTSCP"], (("rdtscp",),)),
        _Intercept(EXITCODES["STGI"], (("stgi",),)),
        _Intercept(EXITCODES["CLGI"], (("clgi",),)),
        _Intercept(EXITCODES["VMLOAD"], (("vmload", at.SPARE), ("vmload", at.SPARE + 1)), alone=True),
        _Intercept(EXITCODES["VMSAVE"], (("vmsave", at.SPARE), ("vmsave", 1 << 40)), alone=True),
    ]
    return chosen


_INTERCEPTS = _intercepts()
_MSR_BIT = EXITCODES["MSR"]
_CARRIED = tuple(row for row in REGISTERS.values() if row.carrier == "VMSAVE")
#: What a program loads from a page: not TR's busy bit, which is not compared.
_LOADED = tuple(row for row in _CARRIED if row.name != "TR.attrib")
_SEGMENTS = ("FS", "GS", "FS", "GS", "DS", "ES", "SS")
#: Operations that go to CPL 3, or by way of the runtime's EFER, VMSAVE and VMLOAD.
_BY_RUNTIME = ("user", "syscall", "sysret", "iret")


def _place(name: str) -> tuple[int, int]:
    row = REGISTERS[name]
    return row.vmcb or 0, row.bits


_FLAGS = ("clgi", "stgi", "cli", "sti", "swapgs", "swapgs", "rdtscp", "rdpid", "sti_cli", "sti_clgi")
_HOST_FLAGS = (*_FLAGS, "vmmcall", "sti_vmmcall", "stgi", "sti")


class Generator:
    """A stream of programs, the same for the same seed."""

    def __init__(self, seed: int, *, vmrun: float = 0.05, user: float = 0.08):
        """`vmrun` and `user` are the shares of world switches and of operations at CPL 3."""
        self._random = Random(seed)
        self._vmrun = vmrun
        self._user = user
        #: Whether the program has sent itself an interrupt: CR8 is not raised after that, since what waits then
        #: can be a spurious interrupt (it is on Bochs), which no rule here knows.
        self._sent = False
        plain = {
            self._rdmsr: 3,
            self._wrmsr: 6,
            self._move: 4,
            self._flag: 4,
            self._base: 4,
            self._selector: 4,
            self._system: 3,
            self._table: 2,
            self._control: 4,
            self._general: 2,
            self._transfer: 2,
            self._event: 2,
            self._store: 6,
            self._access: 2,
        }
        self._kinds = [kind for kind, weight in plain.items() for _ in range(weight)]

    def program(self, length: int) -> Program:
        """A program of `length` operations, a world switch counted as one."""
        random = self._random
        program: list[Operation] = []
        self._sent = False
        while len(program) < length:
            if random.random() < self._vmrun:
                program += self._world_switch()
            else:
                program.append(self._one())
        return program

    def _one(self, *, guest: bool = False) -> Operation:
        random = self._random
        operation = random.choice(self._kinds)(guest)
        if random.random() < self._user and not operation[0].startswith(("load", "store", "intr", "nmi")):
            return ("user", *operation)
        return operation

    def _number(self, values: tuple[int, ...] = _NUMBERS) -> int:
        random = self._random
        if random.random() < 0.2:
            return random.getrandbits(64)
        return (random.choice(values) + random.choice((0, 0, 0, 1, -1))) & (1 << 64) - 1

    def _rdmsr(self, guest: bool) -> Operation:
        return ("rdmsr", self._random.choice((*_MSRS, MSR.EFER, _UNKNOWN_MSR)))

    def _wrmsr(self, guest: bool) -> Operation:
        random = self._random
        if random.random() < 0.12 and not guest:
            return ("wrmsr", MSR.EFER, random.choice(_EFERS))
        msr = random.choice((*_MSRS, _UNKNOWN_MSR))
        if msr == MSR.VM_HSAVE_PA:
            # Where a guest or host writes a page of RAM, the emulator may store into it.
            return ("wrmsr", msr, random.choice((at.HSAVE, at.HSAVE + 1, 1 << 40, 1 << 52, at.HSAVE + 0x800)))
        if msr == MSR.PAT:
            return ("wrmsr", msr, random.choice(_PATS))
        return ("wrmsr", msr, self._number(_BASES if BY_MSR.get(msr) and msr > 0xC000_0000 else _NUMBERS))

    def _move(self, guest: bool) -> Operation:
        random = self._random
        pages = _BAD_PAGES if random.random() < 0.1 else _PAGES if guest else (*_PAGES, at.VMCB)
        return (random.choice(("vmsave", "vmload")), random.choice(pages))

    def _flag(self, guest: bool) -> Operation:
        return (self._random.choice(_FLAGS if guest else _HOST_FLAGS),)

    def _base(self, guest: bool) -> Operation:
        random = self._random
        name = random.choice(("rdfsbase", "rdgsbase", "wrfsbase", "wrgsbase"))
        return (name, self._number(_BASES)) if name.startswith("wr") else (name,)

    def _selector(self, guest: bool) -> Operation:
        random = self._random
        if random.random() < 0.25:
            return ("mov_from_sreg", random.choice((*_SEGMENTS, "CS")))
        name = random.choice(_SEGMENTS)
        if name == "SS" and random.random() < 0.7:
            return ("mov_to_sreg", name, random.choice(_STACKS))
        return ("mov_to_sreg", name, self._any_selector())

    def _any_selector(self) -> int:
        random = self._random
        return random.choice(random.choice((_SELECTORS, _SELECTORS, _LDT_SELECTORS))) | random.choice(
            (0, 3, 3)
        )

    def _system(self, guest: bool) -> Operation:
        random = self._random
        name = random.choice(("sldt", "str", "lldt", "ltr"))
        if name in ("sldt", "str"):
            return (name,)
        likely = (0x48, 0x48, 0x58, 0xB8) if name == "lldt" else (0x28, 0x38, 0x38, 0x98, 0xA8)
        selector = random.choice(likely) if random.random() < 0.7 else self._any_selector()
        return (name, selector)

    def _table(self, guest: bool) -> Operation:
        random = self._random
        name = random.choice(("sgdt", "sidt", "lgdt", "lidt"))
        if name[0] == "s":
            return (name,)
        bases, limits = (_TABLE_BASES, (at.GDT_LIMIT, 0xCF, 0x6F, 0x3FF))
        if name == "lidt":
            bases, limits = (_IDT_BASES, (at.IDT_LIMIT, 0xFFF, 0xFFFF))
        if random.random() < 0.1:
            return (name, random.choice(limits), random.choice(_NOT_CANONICAL) & (1 << 64) - 1)
        return (name, random.choice(limits), random.choice(bases))

    def _control(self, guest: bool) -> Operation:
        random = self._random
        if random.random() < 0.5:
            n = random.choice((0, 2, 3, 4, 8, 8, 8, 4))
            if random.random() < 0.3:
                return ("mov_from_cr", n)
            values = _LOW_PRIORITIES if n == 8 and self._sent else _VALUES[n]
            return ("mov_to_cr", n, random.choice(values) & (1 << 64) - 1)
        n = random.choice((0, 1, 2, 3, 6, 7))
        if random.random() < 0.3:
            return ("mov_from_dr", n)
        values = _DR6S if n == 6 else _DR7S if n == 7 else _NUMBERS
        return ("mov_to_dr", n, random.choice(values) & (1 << 64) - 1)

    def _general(self, guest: bool) -> Operation:
        random = self._random
        where = random.randrange(5)
        if where < 2:
            return ("mov_from_gpr", "RBP") if where else ("mov_to_gpr", "RBP", self._number())
        if where == 2:
            return ("invlpga", self._number(), random.choice((0, 1)))
        return (random.choice(("rdtscp", "rdtscp", "rdpid")),)

    def _transfer(self, guest: bool) -> Operation:
        random = self._random
        name = random.choice(("syscall", "sysret", "iret", "iret"))
        if name != "iret":
            return (name,)
        if random.random() < 0.75:
            return (name, random.choice(_CODES), random.choice(_STACKS))
        return (name, self._any_selector(), self._any_selector())

    def _event(self, guest: bool) -> Operation:
        self._sent = True
        return (self._random.choice(("intr", "intr", "intr", "nmi")),)

    def _store(self, guest: bool) -> Operation:
        """Change a field of a page that a VMLOAD may read."""
        random = self._random
        row = random.choice(_CARRIED)
        page = random.choice(_PAGES)
        size = row.bits // 8
        value = self._number() & (1 << row.bits) - 1
        if row.name in ("FS.attrib", "GS.attrib"):
            value = random.choice((0xCF3, 0xC93, 0xA9F, 0, 0xFFFF, 0x93))
        elif row.name == "LDTR.attrib":
            value = random.choice((0x82, 0x82, 0, 0xF082))
        elif row.name == "TR.attrib":
            value = random.choice((0x8B, 0x89, 0xF08B))
        elif row.name == "LDTR.base" and random.random() < 0.5:
            value = at.linear(at.TABLES + 0x200)
        elif row.name == "LDTR.limit" and random.random() < 0.7:
            value = random.choice((0x17, 0x0F, 0xFFFF))
        return ("store", at.linear(page) + (row.vmcb or 0), value, size)

    def _access(self, guest: bool) -> Operation:
        random = self._random
        size = random.choice((1, 2, 4, 8))
        where = random.randrange(3)
        if where == 0:
            row = random.choice(_LOADED)
            return ("load", at.linear(random.choice(_PAGES)) + (row.vmcb or 0), row.bits // 8)
        if where == 1:
            return (
                "load_gs",
                random.choice((0x440, 0x448, 0x608, 0)),
                1,
            )  # the model keeps accesses in a page
        return ("load", random.choice((0, 0x1000, 1 << 47, at.linear(at.RAM), 0x7FFF_FFFF_F000)), size)

    def _world_switch(self) -> list[Operation]:
        """A VMCB, changed here and there, and a guest that rewrites what it can reach."""
        random = self._random
        operations: list[Operation] = [("vmcb",)]
        if random.random() < 0.15:
            operations += [_put(name, random.choice(values)) for name, values in ILLEGAL[random.choice(_CHECKS)]]
            return [*operations, ("vmrun", at.VMCB, [])]
        fields = random.sample(_GUEST_FIELDS, random.choice((0, 1, 2, 2)))
        operations += [_put(name, random.choice(values)) for name, values in fields]
        if random.random() < 0.15:
            operations.append(_put("EVENTINJ", random.choice(_EVENTS)))
        guest = [self._one(guest=True) for _ in range(random.randint(0, 8))]
        if random.random() < 0.05:  # no way to CPL 3 here: VMSAVE exits on QEMU
            operations.append(_put("MISC_CTL", 0))
            guest = [operation for operation in guest if operation[0] not in _BY_RUNTIME]
        elif random.random() < 0.5:
            guest = self._intercepted(operations, guest)
        if random.random() < 0.15:
            operations += random.choice(_WAITING)
            self._sent = True
        return [*operations, ("vmrun", at.VMCB, guest)]

    def _intercepted(self, operations: list[Operation], guest: list[Operation]) -> list[Operation]:
        """Set intercepts and have the guest meet one of them, perhaps at CPL 3."""
        random = self._random
        chosen = random.sample(_INTERCEPTS, random.choice((1, 1, 2, 4)))
        bits = sum({1 << intercept.code for intercept in chosen})
        meets = list(chosen[0].meets)
        self._sent = self._sent or meets[-1] == ("sti",)
        alone = any(intercept.alone for intercept in chosen)
        if random.random() < 0.25:
            bits |= 1 << _MSR_BIT
            for _ in range(2):
                msr, write = random.choice((*_MSRS, MSR.EFER)), random.randrange(2)
                alone = alone or msr == MSR.EFER
                place, bit = permission_bit(msr, write)
                operations.append(("store", at.linear(at.MSRPM + place), 1 << bit, 1))
                meets += [("wrmsr", msr, at.HSAVE) if write else ("rdmsr", msr)] * (msr != MSR.PAT)
        for word in range(5):
            if value := bits >> 32 * word & 0xFFFF_FFFF:
                value |= 3 * (word == 4)
                operations.append(("store", at.linear(at.VMCB) + 4 * word, value, 4))
        if alone:
            guest, meets = (
                [operation for operation in part if operation[0] not in _BY_RUNTIME] for part in (guest, meets)
            )
        elif random.random() < 0.2 and meets[0][0] not in ("intr", "nmi", "load"):
            meets[0] = ("user", *meets[0])
        if random.random() < 0.85:
            place = random.randint(0, len(guest))
            guest[place:place] = meets
        return guest


def _put(name: str, value: int) -> Operation:
    offset, bits = CONTROL[name] if name in CONTROL else _place(name)
    return ("store", at.linear(at.VMCB) + offset, value & (1 << bits) - 1, bits // 8)


_CHECKS = tuple(name for name in ILLEGAL if ILLEGAL[name])
#: What waits for a guest.
_WAITING: tuple[tuple[Operation, ...], ...] = (
    (("intr",),),
    (("clgi",), ("intr",)),
    (("clgi",), ("intr",), ("sti",)),
    (("clgi",), ("nmi",)),
    (("clgi",), ("sti",), ("nmi",), ("intr",)),
)
