"""Random programs: operands are biased to the values at which rules change.

What no emulator or the runtime would survive is left out: breakpoints (enable bits of DR7); CR0.PE, PG and
CR4.PAE cleared; SMEP, SMAP; VME and PVI, virtual interrupts that the model has not; MOV to CR3 and CR4 with
reserved bits; a GDT or IDT without what the runtime needs; SKINIT; ways to CPL 3 in a guest whose VMCB
intercepts what the runtime executes on the way.  So are CLI and NMIs in a guest with V_INTR_MASKING: they
leave interrupts on in Bochs when the host had them on.
"""

from random import Random

from ..instructions.msr import permission_bit
from ..registers import BY_MSR, MSR
from . import layout as at
from .boundaries import (
    BAD_PAGES,
    BASES,
    BY_RUNTIME,
    CARRIED,
    CODES,
    CONTROL_VALUES,
    DR6S,
    DR7S,
    EFERS,
    EVENTS,
    FLAGS,
    GDT_LIMITS,
    GUEST_FIELDS,
    HOST_FLAGS,
    IDT_BASES,
    IDT_LIMITS,
    ILLEGAL,
    INTERCEPTS,
    LDT_SELECTORS,
    LOADED,
    LOW_PRIORITIES,
    MSR_PROT,
    MSRS,
    NOT_CANONICAL,
    NUMBERS,
    PAGES,
    PATS,
    SEGMENTS,
    SELECTORS,
    STACKS,
    TABLE_BASES,
    UNKNOWN_MSR,
    WAITING,
    put,
)
from .programs import Operation, Program


class Generator:
    """A stream of programs, the same for the same seed."""

    def __init__(self, seed: int, *, vmrun: float = 0.05, user: float = 0.08):
        """`vmrun` and `user` are the shares of world switches and of operations at CPL 3."""
        self._random = Random(seed)
        self._vmrun = vmrun
        self._user = user
        #: Whether the program has sent itself an interrupt: CR8 is not raised after that, since what waits
        #: then can be a spurious interrupt (it is on Bochs), which no rule here knows.
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
        self._sent = self._efer_mapped = False
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

    def _number(self, values: tuple[int, ...] = NUMBERS) -> int:
        random = self._random
        if random.random() < 0.2:
            return random.getrandbits(64)
        return (random.choice(values) + random.choice((0, 0, 0, 1, -1))) & (1 << 64) - 1

    def _rdmsr(self, guest: bool) -> Operation:
        return ("rdmsr", self._random.choice((*MSRS, MSR.EFER, UNKNOWN_MSR)))

    def _wrmsr(self, guest: bool) -> Operation:
        random = self._random
        if random.random() < 0.12 and not guest:
            return ("wrmsr", MSR.EFER, random.choice(EFERS))
        msr = random.choice((*MSRS, UNKNOWN_MSR))
        if msr == MSR.VM_HSAVE_PA:
            # Where a guest or host writes a page of RAM, the emulator may store into it.
            return ("wrmsr", msr, random.choice((at.HSAVE, at.HSAVE + 1, 1 << 40, 1 << 52, at.HSAVE + 0x800)))
        if msr == MSR.PAT:
            return ("wrmsr", msr, random.choice(PATS))
        return ("wrmsr", msr, self._number(BASES if BY_MSR.get(msr) and msr > 0xC000_0000 else NUMBERS))

    def _move(self, guest: bool) -> Operation:
        random = self._random
        pages = BAD_PAGES if random.random() < 0.1 else PAGES if guest else (*PAGES, at.VMCB)
        return (random.choice(("vmsave", "vmload")), random.choice(pages))

    def _flag(self, guest: bool) -> Operation:
        return (self._random.choice(FLAGS if guest else HOST_FLAGS),)

    def _base(self, guest: bool) -> Operation:
        random = self._random
        name = random.choice(("rdfsbase", "rdgsbase", "wrfsbase", "wrgsbase"))
        return (name, self._number(BASES)) if name.startswith("wr") else (name,)

    def _selector(self, guest: bool) -> Operation:
        random = self._random
        if random.random() < 0.25:
            return ("mov_from_sreg", random.choice((*SEGMENTS, "CS")))
        name = random.choice(SEGMENTS)
        if name == "SS" and random.random() < 0.7:
            return ("mov_to_sreg", name, random.choice(STACKS))
        if name == "SS":  # a handler's IRET loads it again, when LDTR may be another
            return ("mov_to_sreg", name, self._any_selector() & ~4)
        return ("mov_to_sreg", name, self._any_selector())

    def _any_selector(self) -> int:
        random = self._random
        return random.choice(random.choice((SELECTORS, SELECTORS, LDT_SELECTORS))) | random.choice((0, 3, 3))

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
        bases, limits = (TABLE_BASES, GDT_LIMITS) if name == "lgdt" else (IDT_BASES, IDT_LIMITS)
        if random.random() < 0.1:
            return (name, random.choice(limits), random.choice(NOT_CANONICAL) & (1 << 64) - 1)
        return (name, random.choice(limits), random.choice(bases))

    def _control(self, guest: bool) -> Operation:
        random = self._random
        if random.random() < 0.5:
            n = random.choice((0, 2, 3, 4, 8, 8, 8, 4))
            if random.random() < 0.3:
                return ("mov_from_cr", n)
            values = LOW_PRIORITIES if n == 8 and self._sent else CONTROL_VALUES[n]
            return ("mov_to_cr", n, random.choice(values) & (1 << 64) - 1)
        n = random.choice((0, 1, 2, 3, 6, 7))
        if random.random() < 0.3:
            return ("mov_from_dr", n)
        values = DR6S if n == 6 else DR7S if n == 7 else NUMBERS
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
            return (name, random.choice(CODES), random.choice(STACKS))
        return (name, self._any_selector(), self._any_selector())

    def _event(self, guest: bool) -> Operation:
        self._sent = True
        return (self._random.choice(("intr", "intr", "intr", "nmi")),)

    def _store(self, guest: bool) -> Operation:
        """Change a field of a page that a VMLOAD may read."""
        random = self._random
        row = random.choice(CARRIED)
        page = random.choice(PAGES)
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
            row = random.choice(LOADED)
            return ("load", at.linear(random.choice(PAGES)) + (row.vmcb or 0), row.bits // 8)
        if where == 1:
            return (
                "load_gs",
                random.choice((0x440, 0x448, 0x608, 0)),
                1,
            )  # the model keeps accesses in a page
        return ("load", random.choice((0, 0x1000, 1 << 47, at.linear(at.RAM), 0x7FFF_FFFF_F000)), size)

    def _world_switch(self) -> list[Operation]:
        """A VMCB, changed here and there, and a guest that rewrites what it can; long for what it draws."""
        random = self._random
        operations: list[Operation] = [("vmcb",)]
        if random.random() < 0.15:
            operations += [
                put(name, random.choice(values)) for name, values in ILLEGAL[random.choice(_CHECKS)]
            ]
            return [*operations, ("vmrun", at.VMCB, [])]
        chosen = random.sample(GUEST_FIELDS, random.choice((0, 1, 2, 2)))
        fields = [(name, random.choice(values)) for name, values in chosen]
        operations += [put(name, value) for name, value in fields]
        waiting: tuple[Operation, ...] = random.choice(WAITING) if random.random() < 0.15 else ()
        if random.random() < 0.15:
            operations.append(put("EVENTINJ", random.choice(EVENTS)))
            waiting = waiting[: len(waiting) * (("nmi",) not in waiting)]  # it would come first of the two
        self._sent = self._sent or bool(waiting)
        guest = [self._one(guest=True) for _ in range(random.randint(0, 8))]
        if any(name == "INT_CTL" and value >> 24 & 1 for name, value in fields):
            guest = [operation for operation in guest if operation[0] not in ("cli", "sti_cli", "nmi")]
            waiting = tuple(operation for operation in waiting if operation[0] != "nmi")
        if random.random() < 0.05:  # no way to CPL 3 here: VMSAVE exits on QEMU
            operations.append(put("MISC_CTL", 0))
            guest = [operation for operation in guest if operation[0] not in BY_RUNTIME]
        elif random.random() < 0.5:
            guest = self._intercepted(operations, guest)
        operations += waiting
        return [*operations, ("vmrun", at.VMCB, guest)]

    def _intercepted(self, operations: list[Operation], guest: list[Operation]) -> list[Operation]:
        """Set intercepts and have the guest meet one of them, perhaps at CPL 3."""
        random = self._random
        chosen = random.sample(INTERCEPTS, random.choice((1, 1, 2, 4)))
        bits = sum({1 << intercept.code for intercept in chosen})
        meets = list(chosen[0].meets)
        self._sent = self._sent or meets[-1] == ("sti",)
        alone = any(intercept.alone for intercept in chosen)
        if random.random() < 0.25:
            bits |= 1 << MSR_PROT
            mapped: dict[int, int] = {}
            for _ in range(2):
                msr, write = random.choice((*MSRS, MSR.EFER)), random.randrange(2)
                self._efer_mapped = self._efer_mapped or msr == MSR.EFER
                place, bit = permission_bit(msr, write) or (0, 0)
                mapped[place] = mapped.get(place, 0) | 1 << bit
                if msr not in (MSR.PAT, MSR.EFER):
                    meets.append(("wrmsr", msr, at.HSAVE) if write else ("rdmsr", msr))
            operations += [("store", at.linear(at.MSRPM + place), bits, 1) for place, bits in mapped.items()]
            alone = alone or self._efer_mapped
        for word in range(5):
            if value := bits >> 32 * word & 0xFFFF_FFFF:
                value |= 3 * (word == 4)
                operations.append(("store", at.linear(at.VMCB) + 4 * word, value, 4))
        if alone:
            guest, meets = (
                [operation for operation in part if operation[0] not in BY_RUNTIME] for part in (guest, meets)
            )
        elif random.random() < 0.2 and meets[0][0] not in ("intr", "nmi", "load"):
            meets[0] = ("user", *meets[0])
        if random.random() < 0.85:
            place = random.randint(0, len(guest))
            guest[place:place] = meets
        return guest


_CHECKS = tuple(name for name in ILLEGAL if ILLEGAL[name])
