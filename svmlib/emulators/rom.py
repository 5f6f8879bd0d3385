"""The ROM that both emulators start from: boot code, and the image of RAM with the programs as records."""

from collections.abc import Iterator, Sequence
from functools import cache
from struct import pack

from . import layout as at
from .layout import linear
from .programs import Operation, Program, length, room
from .runtime import APIC_VECTOR, STATE_BYTES, USER_VECTOR, kernel

_ENTRY_BYTES = 16
_MASK64 = (1 << 64) - 1
#: Operations whose code at CPL 0 first does what the way to CPL 3 does, too.
_PREPARED = ("syscall", "sysret", "iret")
#: Operations that fit in one ROM: Bochs takes 2 MiB at the most.
ROM_OPERATIONS = 58_000


def boot_rom(image_size: int, rom_size: int) -> bytes:
    """The last 64 KiB below 4 GiB: to protected mode, copy the image to RAM, go there."""
    base = 0xFFFF_0000
    tables = pack(
        "<QQQ",
        0,
        0x00CF_9B00_0000_FFFF,  # 0x08: 32-bit code
        0x00CF_9300_0000_FFFF,  # 0x10: data
    )
    protected = (
        b"\xb8" + pack("<I", 0x10) + b"\x8e\xd8\x8e\xc0\x8e\xd0\xfc"  # mov eax, 0x10; ds, es, ss; cld
        b"\xbe"
        + pack("<I", 0x1_0000_0000 - rom_size)  # mov esi, where the ROM begins
        + b"\xbf"
        + pack("<I", at.IMAGE)  # mov edi, IMAGE
        + b"\xb9"
        + pack("<I", image_size // 4)
        + b"\xf3\xa5"  # mov ecx, size / 4; rep movsd
        + b"\xb8"
        + pack("<I", at.CODE)
        + b"\xff\xe0"  # mov eax, CODE; jmp eax
    )
    real = (
        b"\xfa"  # cli
        b"\x2e\x66\x0f\x01\x16\x80\x00"  # lgdt cs:[0x80]
        b"\x66\xb8\x11\x00\x00\x00\x0f\x22\xc0"  # mov eax, 0x11; mov cr0, eax
        b"\x66\xea" + pack("<IH", base + 0x40, 0x08)  # jmp 0x08: the code at 0x40
    )
    rom = bytearray(0x1_0000)
    for place, part in (
        (0, real),
        (0x40, protected),
        (0x80, pack("<HI", len(tables) - 1, base + 0x90)),
        (0x90, tables),
        (0xFFF0, b"\xe9\x0d\x00"),  # jmp 0
    ):
        rom[place : place + len(part)] = part
    return bytes(rom)


def _idt(labels: dict[str, int]) -> bytes:
    idt = bytearray(at.IDT_LIMIT + 1)
    gates = [(vector, f"exception_{vector}", 0x8E) for vector in range(32)]
    for vector, label, kind in [*gates, (APIC_VECTOR, "interrupt", 0x8E), (USER_VECTOR, "return", 0xEE)]:
        target = labels[label]
        low, middle, high = target & 0xFFFF, target >> 16 & 0xFFFF, target >> 32
        idt[16 * vector : 16 * vector + 16] = pack(
            "<HHBBHII", low, at.CODE_SELECTOR, 0, kind, middle, high, 0
        )
    return bytes(idt)


def _page_tables() -> dict[int, bytes]:
    present, large, user, uncached = 3, 0x80, 4, 0x10
    pml4 = bytearray(0x1000)
    for index, table in ((0, at.PDPT), (at.DIRECT_INDEX, at.PDPT), (511, at.PDPT_HIGH)):
        pml4[8 * index : 8 * index + 8] = pack("<Q", table | present | user)
    directory = b"".join(pack("<Q", pa | present | user | large) for pa in range(0, at.RAM, 2 << 20))
    pdpt_high = bytes(8 * 511) + pack("<Q", at.DIRECTORY_HIGH | present)
    index = at.APIC_LINEAR >> 21 & 511
    high = bytes(8 * index) + pack("<Q", at.LOCAL_APIC & -(2 << 20) | present | large | uncached | user)
    # The guest-physical address of the local APIC has the same index in its directory as the linear one.
    nested = pack("<QQQQ", at.DIRECTORY | present | user, 0, 0, at.DIRECTORY_HIGH | present | user)
    return {
        at.PML4: bytes(pml4),
        at.PDPT: pack("<Q", at.DIRECTORY | present | user),
        at.DIRECTORY: directory,
        at.PDPT_HIGH: pdpt_high,
        at.DIRECTORY_HIGH: high,
        at.NESTED_PML4: pack("<Q", at.NESTED_PDPT | present | user),
        at.NESTED_PDPT: nested,
    }


@cache
def _fixed() -> bytes:
    """The image up to PROGRAMS."""
    code, labels = kernel()
    tables = at.tables()
    tss = (bytes(4) + pack("<Q", linear(at.FAULT_STACK))).ljust(0x68, b"\0")
    parts = _page_tables() | {
        at.TABLES: tables,
        at.IDT: _idt(labels),
        at.IDT_OTHER: _idt(labels),
        at.TSS: tss,
        at.TSS_OTHER: tss,
        at.START: at.page(at.REGISTERS_AT_START),
        at.CODE: code,
    }
    for number, pa in enumerate(at.POOL):
        parts[at.FRESH + 0x1000 * number] = parts[pa] = at.FRESH_PAGES[pa]
    image = bytearray(at.PROGRAMS - at.IMAGE)
    for pa, part in parts.items():
        image[pa - at.IMAGE : pa - at.IMAGE + len(part)] = part
    return bytes(image)


class Batch:
    """Programs as one ROM, and where each one's outcome lies in the log."""

    def __init__(self, programs: Sequence[Program]):
        """Lay out `programs`."""
        labels = kernel()[1]
        self._code = {name[3:]: address for name, address in labels.items() if name.startswith("op_")}
        self._labels = labels
        self._user = labels["user"]
        self._records = bytearray()
        #: For each program: (offset of its outcome from LOG, its length).
        self.slots: list[tuple[int, int]] = []
        self._guests: list[tuple[int, Program]] = []
        place = 16
        for program in programs:
            size = STATE_BYTES + _ENTRY_BYTES * room(program)
            self._record("begin", linear(at.LOG + place), linear(at.LOG + place + STATE_BYTES))
            for operation in program:
                self._operation(operation)
            self._record("end")
            self.slots.append((place, size))
            place += size
        self._record("done")
        for hole, guest in self._guests:
            address = linear(at.PROGRAMS) + len(self._records)
            self._records[hole : hole + 8] = pack("<Q", address)
            for operation in guest:
                self._operation(operation)
            self._record("vmmcall")
        #: Bytes of the log in use.
        self.log_size = place

    def _record(self, name: str, a: int = 0, b: int = 0, code: int = 0) -> None:
        at_ring3 = self._code[name] if name not in _PREPARED else self._labels["do_" + name]
        self._records += pack("<QQQQ", code or self._code[name], a, b, at_ring3)

    def _operation(self, operation: Operation) -> None:
        code = self._user if operation[0] == "user" else 0
        name, *operands = operation[1:] if code else operation
        if name.startswith("mov_"):
            name += f"_{operands.pop(0)}".lower()
        elif name.startswith(("load", "store")):
            name += f"_{operands.pop()}"
        elif name == "vmrun":
            self._guests.append((len(self._records) + 16, operands.pop()))
        a, b = (*operands, 0, 0)[:2]
        self._record(name, a & _MASK64, b & _MASK64, code)

    def rom(self) -> bytes:
        """The ROM: the image, padded to a multiple of 64 KiB, and 64 KiB of boot code."""
        image = _fixed() + bytes(self._records)
        image += bytes(-len(image) % 0x1_0000)
        return image + boot_rom(len(image), len(image) + 0x1_0000)


def batches(programs: Sequence[Program]) -> Iterator[Batch]:
    """Cut `programs` into as many batches as ROM and RAM want."""
    part: list[Program] = []
    operations = log = 0
    for program in programs:
        count = length(program)
        size = STATE_BYTES + _ENTRY_BYTES * room(program)
        if part and (operations + count + 2 > ROM_OPERATIONS or at.LOG + log + size > at.RAM - 0x1000):
            yield Batch(part)
            part, operations, log = [], 0, 0
        part.append(program)
        operations += count + 3 + sum(operation[0] == "vmrun" for operation in program)
        log += size
    if part:
        yield Batch(part)
