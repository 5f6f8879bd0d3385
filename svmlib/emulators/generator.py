"""Random programs: operands are biased to the values at which rules change."""

from random import Random

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
_PAGES = (at.HOST, at.GUEST, at.SPARE)
_BAD_PAGES = (at.HOST + 1, at.GUEST + 0x800, 1 << 40, 1 << 63, at.HOST | 1 << 52, 0xFFF)
_MSRS = tuple(
    getattr(MSR, name)
    for name in (
        *("FS_BASE", "GS_BASE", "KERNEL_GS_BASE", "STAR", "LSTAR", "CSTAR", "SFMASK"),
        *("SYSENTER_CS", "SYSENTER_ESP", "SYSENTER_EIP", "TSC_AUX", "VM_HSAVE_PA"),
    )
)
_UNKNOWN_MSR = 0xC000_0105
_EFERS = (at.EFER, at.EFER & ~1, at.EFER & ~0x1000, at.EFER & ~0x1000, at.EFER | 1 << 20, at.EFER & ~0x800)
#: VMCB fields that a guest can be started with otherwise, and values.
_GUEST_FIELDS = (
    ("CR2", (0, 0x1234_5000, -1)),
    ("CR4", (at.CR4 & ~0x1_0000, at.CR4, at.CR4 & ~0x1_0000)),
    ("DR6", (at.DR6 | 1, at.DR6 | 0x4000)),
    ("RFLAGS", (2, 0x202)),
)
_ILLEGAL = (
    ("EFER", (at.EFER & ~0x1000,)),
    ("CR0", (at.CR0 | 1 << 29, at.CR0 | 1 << 32, at.CR0 | 1 << 63)),
    ("CR4", (at.CR4 | 1 << 32, at.CR4 & ~0x20)),
    ("DR6", (at.DR6 | 1 << 32,)),
    ("DR7", (at.DR7 | 1 << 63,)),
    ("CS.attrib", (0xE9B,)),
    ("ASID", (0,)),
    ("INTERCEPT_WORD4", (2,)),
)
_CARRIED = tuple(row for row in REGISTERS.values() if row.carrier == "VMSAVE")
#: What a program loads from a page: not TR's busy bit, which is not compared.
_LOADED = tuple(row for row in _CARRIED if row.name != "TR.attrib")
_SEGMENTS = ("FS", "GS")


def _place(name: str) -> tuple[int, int]:
    row = REGISTERS[name]
    return row.vmcb or 0, row.bits


class Generator:
    """A stream of programs, the same for the same seed."""

    def __init__(self, seed: int, *, vmrun: float = 0.05, user: float = 0.08):
        """`vmrun` and `user` are the shares of world switches and of operations at CPL 3."""
        self._random = Random(seed)
        self._vmrun = vmrun
        self._user = user
        plain = {
            self._rdmsr: 3,
            self._wrmsr: 6,
            self._move: 4,
            self._flag: 3,
            self._base: 4,
            self._selector: 4,
            self._system: 3,
            self._store: 6,
            self._access: 2,
        }
        self._kinds = [kind for kind, weight in plain.items() for _ in range(weight)]

    def program(self, length: int) -> Program:
        """A program of `length` operations, a world switch counted as one."""
        random = self._random
        program: list[Operation] = []
        while len(program) < length:
            if random.random() < self._vmrun:
                program += self._world_switch()
            else:
                program.append(self._one())
        return program

    def _one(self, *, guest: bool = False) -> Operation:
        random = self._random
        operation = random.choice(self._kinds)(guest)
        memory = operation[0].startswith(("load", "store"))
        if not memory and random.random() < self._user:
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
        return ("wrmsr", msr, self._number(_BASES if BY_MSR.get(msr) and msr > 0xC000_0000 else _NUMBERS))

    def _move(self, guest: bool) -> Operation:
        random = self._random
        pages = _BAD_PAGES if random.random() < 0.1 else _PAGES if guest else (*_PAGES, at.VMCB)
        return (random.choice(("vmsave", "vmload")), random.choice(pages))

    def _flag(self, guest: bool) -> Operation:
        return (self._random.choice(("clgi", "stgi", "cli", "sti", "swapgs", "swapgs")),)

    def _base(self, guest: bool) -> Operation:
        random = self._random
        name = random.choice(("rdfsbase", "rdgsbase", "wrfsbase", "wrgsbase"))
        return (name, self._number(_BASES)) if name.startswith("wr") else (name,)

    def _selector(self, guest: bool) -> Operation:
        random = self._random
        if random.random() < 0.25:
            return ("mov_from_sreg", random.choice(_SEGMENTS))
        return ("mov_to_sreg", random.choice(_SEGMENTS), self._any_selector())

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
        illegal = random.random() < 0.2
        fields = _ILLEGAL if illegal else _GUEST_FIELDS
        for name, values in random.sample(fields, random.randint(1 if illegal else 0, min(2, len(fields)))):
            offset, bits = CONTROL[name] if name in CONTROL else _place(name)
            value = random.choice(values) & (1 << bits) - 1
            operations.append(("store", at.linear(at.VMCB) + offset, value, bits // 8))
        guest = [self._one(guest=True) for _ in range(random.randint(0, 8))]
        operations.append(("vmrun", at.VMCB, [] if illegal else guest))
        return operations
