"""Bytes of the instructions that the runtime and the model's operations are made of, in 64-bit mode.

A label may be used before it is placed; `Assembler.finish` fills in what waited for one.
"""

from typing import NamedTuple

_NAMES = ("ax", "cx", "dx", "bx", "sp", "bp", "si", "di")
_R64 = {f"r{name}": n for n, name in enumerate(_NAMES)} | {f"r{n}": n for n in range(8, 16)}
_R32 = {f"e{name}": n for n, name in enumerate(_NAMES)} | {f"r{n}d": n for n in range(8, 16)}
_R16 = {name: n for n, name in enumerate(_NAMES)} | {f"r{n}w": n for n in range(8, 16)}
_R8 = {"al": 0, "cl": 1, "dl": 2, "bl": 3} | {f"r{n}b": n for n in range(8, 16)}
#: Register -> (size in bytes, number).
REGISTERS = {
    name: (size, number)
    for size, names in ((8, _R64), (4, _R32), (2, _R16), (1, _R8))
    for name, number in names.items()
}
SEGMENTS = {name: n for n, name in enumerate(("es", "cs", "ss", "ds", "fs", "gs"))}

#: Instructions without operands of their own; VMRUN, VMLOAD and VMSAVE take their address from rAX,
#: INVLPGA its from rAX and ECX.
PLAIN = {
    "vmrun": b"\x0f\x01\xd8",
    "vmmcall": b"\x0f\x01\xd9",
    "vmload": b"\x0f\x01\xda",
    "vmsave": b"\x0f\x01\xdb",
    "stgi": b"\x0f\x01\xdc",
    "clgi": b"\x0f\x01\xdd",
    "invlpga": b"\x0f\x01\xdf",
    "swapgs": b"\x0f\x01\xf8",
    "rdtscp": b"\x0f\x01\xf9",
    "syscall": b"\x0f\x05",
    "sysretq": b"\x48\x0f\x07",
    "rdmsr": b"\x0f\x32",
    "wrmsr": b"\x0f\x30",
    "cli": b"\xfa",
    "sti": b"\xfb",
    "cld": b"\xfc",
    "hlt": b"\xf4",
    "nop": b"\x90",
    "pushfq": b"\x9c",
    "popfq": b"\x9d",
    "iretq": b"\x48\xcf",
    "retfq": b"\x48\xcb",
    "ret": b"\xc3",
    "rep_movsq": b"\xf3\x48\xa5",
    "out_dx_al": b"\xee",
    #: XCHG BX, BX: nothing, and the breakpoint of Bochs' debugger.
    "magic": b"\x66\x87\xdb",
}
#: One register operand: prefix, opcode, the digit in ModRM, and the operand's size where REX.W gives it.
_UNARY = {
    "rdfsbase": (b"\xf3", b"\x0f\xae", 0),
    "rdgsbase": (b"\xf3", b"\x0f\xae", 1),
    "wrfsbase": (b"\xf3", b"\x0f\xae", 2),
    "wrgsbase": (b"\xf3", b"\x0f\xae", 3),
    "rdpid": (b"\xf3", b"\x0f\xc7", 7),
    "sldt": (b"", b"\x0f\x00", 0),
    "str": (b"", b"\x0f\x00", 1),
    "lldt": (b"", b"\x0f\x00", 2),
    "ltr": (b"", b"\x0f\x00", 3),
}
_ARITHMETIC = {"add": 0, "or": 1, "and": 4, "sub": 5, "xor": 6, "cmp": 7}
_TABLES = {"sgdt": 0, "sidt": 1, "lgdt": 2, "lidt": 3}
_CONDITIONS = {"e": 4, "ne": 5, "be": 6}


class Mem(NamedTuple):
    """A memory operand: [base + displacement], or a label's place when `base` is "rip"."""

    base: str
    place: int | str = 0
    #: "gs" for an access through GS.
    segment: str = ""


class Assembler:
    """Code that grows instruction by instruction, from linear address `origin` on."""

    def __init__(self, origin: int = 0):
        """Begin with nothing."""
        self.origin = origin
        self.code = bytearray()
        self.labels: dict[str, int] = {}
        #: (where the four bytes lie, the label, where the instruction that holds them ends).
        self._open: list[tuple[int, str, int]] = []

    @property
    def here(self) -> int:
        """The linear address of the next byte."""
        return self.origin + len(self.code)

    def label(self, name: str) -> None:
        """Give the next byte a name."""
        if name in self.labels:
            raise ValueError(f"the label {name!r} is placed twice")
        self.labels[name] = self.here

    def data(self, data: bytes) -> None:
        """Append bytes as they are."""
        self.code += data

    def plain(self, *names: str) -> None:
        """Append instructions of PLAIN."""
        for name in names:
            self.code += PLAIN[name]

    def unary(self, name: str, register: str) -> None:
        """Append RDFSBASE, LLDT and their like, with a register operand."""
        prefix, opcode, digit = _UNARY[name]
        size, number = REGISTERS[register]
        rex = 0x48 * (size == 8) | (0x41 if number > 7 else 0)
        self.code += prefix + bytes([rex] if rex else []) + opcode + bytes([0xC0 | digit << 3 | number & 7])

    def mov(self, to: str | Mem, source: str | Mem | int) -> None:
        """Append a MOV: register, memory, segment, control or debug register, or a number for a register."""
        if isinstance(source, int):
            self._mov_number(str(to), source)
        elif isinstance(to, Mem):
            self._mov_memory(0x88, str(source), to)
        elif isinstance(source, Mem):
            self._mov_memory(0x8A, to, source)
        elif to in SEGMENTS:
            self._modrm(b"\x8e", SEGMENTS[to], REGISTERS[source][1], 4)
        elif source in SEGMENTS:
            self._modrm(b"\x8c", SEGMENTS[source], REGISTERS[to][1], 4)
        elif to[:2] in ("cr", "dr"):
            self._modrm(b"\x0f" + (b"\x22" if to[0] == "c" else b"\x23"), int(to[2:]), _R64[source], 4)
        elif source[:2] in ("cr", "dr"):
            self._modrm(b"\x0f" + (b"\x20" if source[0] == "c" else b"\x21"), int(source[2:]), _R64[to], 4)
        else:
            size, number = REGISTERS[source]
            self._modrm(b"\x89", number, REGISTERS[to][1], size)

    def _mov_number(self, to: str, value: int) -> None:
        size, number = REGISTERS[to]
        if size == 8 and value >> 32:
            self.code += bytes([0x48 | number >> 3, 0xB8 | number & 7]) + value.to_bytes(8, "little")
        else:  # a write to the lower half clears the upper
            rex = bytes([0x41]) if number > 7 else b""
            self.code += rex + bytes([0xB8 | number & 7]) + value.to_bytes(4, "little")

    def _mov_memory(self, opcode: int, register: str, memory: Mem) -> None:
        size, number = REGISTERS[register]
        self._memory(bytes([opcode | (size > 1)]), number, memory, size)

    def lea(self, to: str, memory: Mem) -> None:
        """Append LEA."""
        self._memory(b"\x8d", _R64[to], memory, 8)

    def arithmetic(self, name: str, to: str, source: str | int) -> None:
        """Append ADD, OR, AND, SUB, XOR or CMP of registers, or with a number of 31 bits."""
        size, number = REGISTERS[to]
        digit = _ARITHMETIC[name]
        if isinstance(source, str):
            self._modrm(bytes([digit << 3 | 1]), REGISTERS[source][1], number, size)
        else:
            self._modrm(b"\x81", digit, number, size)
            self.code += source.to_bytes(4, "little")

    def shift(self, name: str, to: str, count: int) -> None:
        """Append SHL, SHR or SAR by `count`."""
        self._modrm(b"\xc1", {"shl": 4, "shr": 5, "sar": 7}[name], REGISTERS[to][1], REGISTERS[to][0])
        self.code.append(count)

    def test(self, register: str, bits: int) -> None:
        """Append TEST of a register with a number of 31 bits."""
        self._modrm(b"\xf7", 0, REGISTERS[register][1], REGISTERS[register][0])
        self.code += bits.to_bytes(4, "little")

    def table(self, name: str, memory: Mem) -> None:
        """Append SGDT, SIDT, LGDT or LIDT."""
        self._memory(b"\x0f\x01", _TABLES[name], memory, 4)

    def push(self, what: str | int) -> None:
        """Append PUSH of a register or of a number of 31 bits."""
        if isinstance(what, int):
            self.code += b"\x68" + what.to_bytes(4, "little")
        else:
            self._short(0x50, what)

    def pop(self, register: str) -> None:
        """Append POP."""
        self._short(0x58, register)

    def _short(self, opcode: int, register: str) -> None:
        number = _R64[register]
        self.code += bytes(([0x41] if number > 7 else []) + [opcode | number & 7])

    def interrupt(self, vector: int) -> None:
        """Append INT."""
        self.code += bytes([0xCD, vector])

    def jump(self, to: str, condition: str = "") -> None:
        """Append a jump to a label, or to the address in a register."""
        if to in _R64:
            self._modrm(b"\xff", 4, _R64[to], 4)
            return
        self.code += bytes([0x0F, 0x80 | _CONDITIONS[condition]]) if condition else b"\xe9"
        self._relative(to)

    def call(self, label: str) -> None:
        """Append CALL of a label."""
        self.code += b"\xe8"
        self._relative(label)

    def _relative(self, label: str) -> None:
        self._open.append((len(self.code), label, len(self.code) + 4))
        self.code += bytes(4)

    def _modrm(self, opcode: bytes, field: int, number: int, size: int) -> None:
        self._prefix(opcode, field, number, size)
        self.code.append(0xC0 | (field & 7) << 3 | number & 7)

    def _prefix(self, opcode: bytes, field: int, number: int, size: int) -> None:
        rex = 0x40 | 8 * (size == 8) | field >> 3 << 2 | number >> 3
        self.code += b"\x66" * (size == 2) + (bytes([rex]) if rex > 0x40 else b"") + opcode

    def _memory(self, opcode: bytes, field: int, memory: Mem, size: int) -> None:
        if memory.segment:
            self.code += b"\x65"
        if memory.base == "rip":
            self._prefix(opcode, field, 0, size)
            self.code.append((field & 7) << 3 | 5)
            self._relative(str(memory.place))
            return
        number = _R64[memory.base]
        self._prefix(opcode, field, number, size)
        self.code.append(0x80 | (field & 7) << 3 | number & 7)
        if number & 7 == 4:
            self.code.append(0x24)
        self.code += int(memory.place).to_bytes(4, "little", signed=True)

    def finish(self) -> bytes:
        """Fill in the labels and return the code; KeyError names a label that was never placed."""
        for place, label, end in self._open:
            distance = self.labels[label] - self.origin - end
            self.code[place : place + 4] = distance.to_bytes(4, "little", signed=True)
        self._open.clear()
        return bytes(self.code)
