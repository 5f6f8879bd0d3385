"""The rows of kvm_unit_tests.csv and interrupts.csv as programs, and what an outcome shows of each.

A row sets fields of the VMCB, intercepts, bits of the MSR permission map, or an MSR, and says what is seen:

    EFER +0x1000; CR4 -0x20; DR6 =0x0    bits of a field set and cleared; a field with another value
    intercept +VMLOAD; intercept -VMRUN  an intercept by its EXITCODE's name
    map +read LSTAR                      the map's bit for RDMSR of LSTAR, alone in its byte
    map -read LSTAR                      all the other bits of that byte
    EXITCODE=INVALID; ES.base=0x5        what the VMRUN ends in, and a field of the VMCB behind it
    guest=#UD(0x0)                       the guest's first entry in the log
    LSTAR=#GP(0x0)                       what WRMSR gives, or RDMSR after it
    each=. . INTR exit:NMI               what each operation gives: nothing, an interrupt, an exit

A row of interrupts.csv has operations of the host before and after its VMRUN, too.
"""

import csv
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from svmlib.emulators import layout as at
from svmlib.emulators.outcomes import ENTRY, Outcome, entry
from svmlib.emulators.programs import Operation
from svmlib.instructions.intercepts import EXITCODES
from svmlib.registers import MSR, REGISTERS
from svmlib.vmcb import CONTROL

FOLDER = Path(__file__).parent
PAGE = 0x1000
NAMES = {"INVALID": EXITCODES["VMEXIT_INVALID"]} | EXITCODES
#: Two pages of RAM that nothing else uses: the permission map, all zero between programs.
MAP = 0x10_0000
#: The first MSR of each range of the map, and the byte at which it begins.
RANGES = ((0, 0), (0xC000_0000, 0x800), (0xC001_0000, 0x1000))


#: What SLDT gives is no EXITCODE of a row: those are above.
SLDT = at.LDT_SELECTOR


class Case(NamedTuple):
    """A row; `set`, `guest` and `expected` are lists separated by semicolons."""

    case: str
    set: str
    guest: str
    expected: str
    source: str
    before: str = ""
    after: str = ""

    @property
    def kind(self) -> str:
        """The instruction that is looked at."""
        first = self.case.partition("-")[0]
        return (
            first if first in ("vmload", "vmsave", "wrmsr") else "each" if "each" in self.wanted else "vmrun"
        )

    @property
    def wanted(self) -> dict[str, str]:
        """What is looked at, and what is expected there, as `observed` writes it."""
        return {
            what: spelled(value) for what, _, value in (part.partition("=") for part in parts(self.expected))
        }


def table(name: str) -> list[dict[str, str]]:
    """The rows of a table beside this file."""
    with (FOLDER / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


CASES = {row["case"]: Case(**row) for row in (*table("kvm_unit_tests"), *table("interrupts"))}


def parts(text: str) -> list[str]:
    """The parts of a list that is written with semicolons."""
    return [part.strip() for part in text.split(";") if part.strip()]


def spelled(value: str) -> str:
    """A value as the log has it: an EXITCODE's name as its number."""
    return f"{NAMES[value]:#x}" if value in NAMES else value


def number(word: str) -> int:
    """A number, or the MSR, page or EXITCODE of that name; EXCEPTION+6 is the sixth after the first."""
    name, _, plus = word.partition("+")
    for known in (vars(MSR), vars(at), NAMES):
        if name in known:
            return known[name] + int(plus or 0)
    return int(word, 16)


def place(field: str) -> tuple[int, int]:
    """A field's offset in the VMCB, and its size in bytes."""
    if field in CONTROL:
        offset, bits = CONTROL[field]
    else:
        offset, bits = REGISTERS[field].vmcb, REGISTERS[field].bits
    return offset, bits // 8


def fresh(offset: int, size: int) -> int:
    """What the VMCB holds at the start."""
    return int.from_bytes(at.FRESH_PAGES[at.VMCB][offset : offset + size], "little")


def changed(old: int, change: str) -> int:
    """A value with bits set (+) or cleared (-), or another (=)."""
    bits = int(change[1:], 16)
    return {"+": old | bits, "-": old & ~bits, "=": bits}[change[0]]


def stores(page: int, text: str) -> list[Operation]:
    """The operations that make a row's changes in `page`, and in the permission map."""
    made: list[Operation] = []
    words: dict[int, int] = {}
    for part in parts(text):
        name, change, *msr = part.split()
        if name == "intercept":
            bit = number(change[1:])
            at_word = bit // 32 * 4
            word = words.get(at_word, fresh(at_word, 4))
            words[at_word] = changed(word, f"{change[0]}{1 << bit % 32:#x}")
        elif name == "map":
            address, bit = map_bit(number(msr[0]), change[1:])
            made.append(("store", at.linear(address), {"+": 1 << bit, "-": 0xFF & ~(1 << bit)}[change[0]], 1))
        else:
            offset, size = place(name)
            made.append(("store", at.linear(page) + offset, changed(fresh(offset, size), change), size))
    made += [("store", at.linear(page) + at_word, word, 4) for at_word, word in words.items()]
    return made


def map_bit(msr: int, access: str) -> tuple[int, int]:
    """Where the map has the bit for an access to `msr`: the byte's address, and the bit's number."""
    first, start = next(pair for pair in RANGES if pair[0] <= msr < pair[0] + 0x2000)
    bit = 2 * (msr - first) + ("read", "write").index(access)
    return MAP + start + bit // 8, bit % 8


def looked_at(page: int, field: str) -> Operation:
    """The operation that looks at a field of a page."""
    offset, size = place(field)
    return ("load", at.linear(page) + offset, size)


def operations(text: str) -> list[Operation]:
    """Operations, written as "wrmsr LSTAR 0x5"."""
    return [(name, *map(number, words)) for name, *words in map(str.split, parts(text))]


def pages(case: Case) -> list[int]:
    """The pages of a row's "page=FIRST-LAST"."""
    first, last = (int(end, 16) for end in case.wanted["page"].split("-"))
    return list(range(first, last + PAGE, PAGE))


def switch(case: Case) -> list[Operation]:
    """The changes of a row, its VMRUN, and the looks at the VMCB behind it."""
    seen = [looked_at(at.VMCB, name) for name in case.wanted if name not in ("EXITCODE", "guest")]
    return [*stores(at.VMCB, case.set), ("vmrun", at.VMCB, operations(case.guest)), *seen]


def program(case: Case) -> list[Operation]:
    """What a row does."""
    if case.kind == "vmsave":
        return [("vmsave", page) for page in pages(case)]
    if case.kind == "wrmsr":
        name, value = case.set.split(" =")
        return [("wrmsr", number(name), int(value, 16)), ("rdmsr", number(name))]
    if case.kind == "each":
        entry_ = [] if case.guest == "none" else [("vmrun", at.VMCB, operations(case.guest))]
        return [*stores(at.VMCB, case.set), *operations(case.before), *entry_, *operations(case.after)]
    if case.kind == "vmload":
        moved = [("vmload", at.SPARE), ("vmsave", at.SPARE)]
        return [*stores(at.SPARE, case.set), *moved, *(looked_at(at.SPARE, name) for name in case.wanted)]
    before = [] if "MSRPM_BASE" in case.set else stores(at.VMCB, f"MSRPM_BASE ={MAP:#x}")
    after = [
        ("store", at.linear(map_bit(number(part.split()[-1]), "read")[0]), 0, 1)
        for part in parts(case.set)
        if part.startswith("map")
    ]
    return [*before, *switch(case), *after]


class Difference(NamedTuple):
    """A row of differences.csv: where a case like `cases` wants `expected`, `engine` gives `gives`."""

    engine: str
    cases: str
    what: str
    expected: str
    gives: str
    reason: str
    source: str

    def concerns(self, case: Case, engine: str, what: str, value: str) -> bool:
        """Whether this is about what `engine` shows of a case."""
        return (
            engine == self.engine
            and fnmatchcase(case.case, self.cases)
            and fnmatchcase(what, self.what)
            and value == spelled(self.expected)
        )


DIFFERENCES = [Difference(**row) for row in table("differences")]


def known(case: Case, engine: str) -> dict[str, str]:
    """What a row expects of `engine`: as written, but where differences.csv has it otherwise."""
    return {
        what: next((spelled(d.gives) for d in DIFFERENCES if d.concerns(case, engine, what, value)), value)
        for what, value in case.wanted.items()
    }


def shown(outcome: Outcome) -> list[str]:
    """The entries of an outcome's log in words."""
    return [entry(*fields) for fields in ENTRY.iter_unpack(outcome.entries)]


def reached(case: Case) -> int:
    """How many entries the row's guest should leave: those up to an intercepted operation."""
    names = [name for name, *_ in operations(case.guest)]
    ends = case.wanted["EXITCODE"]
    if ends == spelled("VMMCALL"):
        return len(names) + ("EVENTINJ" in case.set and "guest" in case.wanted)
    return next((step for step, name in enumerate(names) if spelled(name.upper()) == ends), 0)


def token(said: str) -> str:
    """An entry as a word: "." for nothing, the selector of SLDT included, which stands for a NOP."""
    value, _, taken = said.partition(", ")
    exits = {f"{code:#x}": f"exit:{name}" for name, code in EXITCODES.items() if code > SLDT}
    return taken or ("." if value in ("0x0", f"{at.LDT_SELECTOR:#x}") else exits.get(value, value))


def observed(case: Case, outcome: Outcome) -> dict[str, str]:
    """What an outcome shows where the row looks."""
    entries = shown(outcome)
    if case.kind == "vmsave":
        failed = [
            f"{page:#x}: {said}" for page, said in zip(pages(case), entries, strict=True) if said != "0x0"
        ]
        return {"page": "; ".join(failed) or case.wanted["page"]}
    if case.kind == "wrmsr":
        return dict.fromkeys(case.wanted, entries[1] if entries[0] == "0x0" else entries[0])
    if case.kind == "each":
        behind = entries[len(stores(at.VMCB, case.set)) :]
        return {"each": " ".join(map(token, behind[: len(case.wanted["each"].split())]))}
    if case.kind == "vmload":
        return dict(zip(case.wanted, entries[-len(case.wanted) :], strict=True))
    first = [name for name, *_ in program(case)].index("vmrun")
    looks = [name for name in case.wanted if name != "guest"]
    seen = dict(zip(looks, entries[first + reached(case) :], strict=False))
    return ({"guest": entries[first]} if "guest" in case.wanted else {}) | seen
