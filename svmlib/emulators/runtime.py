"""The bare-metal runtime: an interpreter of programs in 64-bit mode, and the log it keeps.

An operation is a record of four words: the code that carries it out, two operands, and for CPL 3 the code to
go to there.  The code ends in JMP R14, at CPL 0 to `log`.  A fault goes on at the same place, with no result.
While a program runs, R12 is where the next log entry goes, R15 the next record, R8 and R9 the operands, R10
and R11 vector + 1 and error code.  #VMEXIT leaves all of these alone, so a guest goes on with the same log.

A log entry is vector + 1 and error code, four bytes each, and a result of eight.  Before the entries of a
program lies the state it ended with, laid out as in outcomes.STATE.

The module is long because it is one program, written where its pieces can be read beside each other.
"""

from collections.abc import Sequence
from functools import cache
from struct import pack

from . import layout as at
from .assembler import Assembler, Mem
from .layout import linear

#: Exceptions that push an error code.
_WITH_CODE = frozenset({8, 10, 11, 12, 13, 14, 17, 21, 29, 30})
#: What the runtime sends itself to see GIF, and how code at CPL 3 comes back.
APIC_VECTOR, USER_VECTOR = 0x40, 0x81
_EFER, _TSC_AUX, _VM_HSAVE_PA = 0xC000_0080, 0xC000_0103, 0xC001_0117
_SVME = 0x1000
#: The runtime's variables, a word each, behind its code.
_VARIABLES = ("pc", "guest", "state", "rsp", "efer", "flags", "result", "interrupts")
_SIZES = {8: "r9", 4: "r9d", 2: "r9w", 1: "r9b"}
_LOADS = {8: "rax", 4: "eax", 2: "ax", 1: "al"}
#: The log's head says this once all programs are through.
DONE = 0x656E_6F64
#: Bytes of a pool page in the state, and of the whole state.
PAGE_BYTES = 8 + at.SAVE_END - at.SAVE_AREA
STATE_BYTES = 15 * 8 + 2 * 16 + 96 + 64 + len(at.POOL) * PAGE_BYTES + at.TABLES_BYTES


def _variable(name: str) -> Mem:
    return Mem("rip", "v_" + name)


def _operations(a: Assembler) -> None:
    """The code of each operation: operands in R8 and R9, the result in RAX, 0 where there is none.

    Long, since it is a table.
    """

    def operation(name: str) -> None:
        a.label("op_" + name)

    def end() -> None:
        a.mov("eax", 0)
        a.jump("r14")

    operation("rdmsr")
    a.mov("ecx", "r8d")
    a.plain("rdmsr")
    a.shift("shl", "rdx", 32)
    a.arithmetic("or", "rax", "rdx")
    a.jump("r14")
    operation("wrmsr")
    a.mov("ecx", "r8d")
    a.mov("rax", "r9")
    a.mov("rdx", "r9")
    a.shift("shr", "rdx", 32)
    a.plain("wrmsr")
    end()
    for name in ("vmsave", "vmload"):
        operation(name)
        a.mov("rax", "r8")
        a.plain(name)
        end()
    for name in ("clgi", "stgi", "cli", "sti", "swapgs"):
        operation(name)
        a.plain(name)
        end()
    for name in ("rdfsbase", "rdgsbase"):
        operation(name)
        a.unary(name, "rax")
        a.jump("r14")
    for name in ("wrfsbase", "wrgsbase"):
        operation(name)
        a.unary(name, "r8")
        end()
    for name in ("sldt", "str"):
        operation(name)
        a.unary(name, "eax")
        a.jump("r14")
    for name in ("lldt", "ltr"):
        operation(name)
        a.unary(name, "r8d")
        end()
    for segment in ("fs", "gs"):
        operation("mov_from_sreg_" + segment)
        a.mov("eax", segment)
        a.jump("r14")
        operation("mov_to_sreg_" + segment)
        a.mov(segment, "r8d")
        end()
    for size in (8, 4, 2, 1):
        for suffix, segment in (("", ""), ("_gs", "gs")):
            operation(f"load{suffix}_{size}")
            a.mov("eax", 0)
            a.mov(_LOADS[size], Mem("r8", 0, segment))
            a.jump("r14")
            operation(f"store{suffix}_{size}")
            a.mov(Mem("r8", 0, segment), _SIZES[size])
            end()


def _world_switch(a: Assembler) -> None:
    """VMRUN of the pool's VMCB: the guest runs the records at R9; the result is EXITCODE."""
    a.label("op_vmrun")
    a.mov(_variable("pc"), "r15")
    a.mov(_variable("guest"), "r9")
    a.mov("rdi", linear(at.VMCB))
    a.lea("rax", Mem("rip", "in_guest"))
    a.mov(Mem("rdi", 0x578), "rax")
    a.mov("rax", linear(at.GUEST_STACK))
    a.mov(Mem("rdi", 0x5D8), "rax")
    a.mov("rax", "r8")
    a.plain("vmrun")
    a.mov("r15", _variable("pc"))
    a.mov("r10d", 0)
    a.mov("r11d", 0)
    a.mov("rdi", linear(at.VMCB))
    a.mov("rax", Mem("rdi", 0x70))
    a.jump("r14")
    a.label("in_guest")
    a.mov("r15", _variable("guest"))
    a.jump("next")
    a.label("op_vmmcall")
    a.plain("vmmcall")
    a.label("op_vmcb")
    _copy(a, linear(at.FRESH) + at.VMCB - at.HOST, linear(at.VMCB), 0x1000)
    a.mov("eax", 0)
    a.jump("r14")


def _copy(a: Assembler, source: int | str, to: int | str, size: int) -> None:
    if source != "rsi":
        a.mov("rsi", source)
    if to != "rdi":
        a.mov("rdi", to)
    a.mov("ecx", size // 8)
    a.plain("rep_movsq")


def _with_svme(a: Assembler, work: Sequence[tuple[str, int]]) -> None:
    """VMSAVE and VMLOAD whatever EFER.SVME is: set it, do the work, put EFER back.  Takes RAX, RCX, RDX."""
    a.mov("ecx", _EFER)
    a.plain("rdmsr")
    a.mov(_variable("efer"), "rax")
    a.arithmetic("or", "eax", _SVME)
    a.plain("wrmsr")
    for name, pa in work:
        if name == "swap_tr":
            _exchange_tr(a, pa)
        else:
            a.mov("rax", pa)
            a.plain(name)
    a.mov("rax", _variable("efer"))
    a.mov("ecx", _EFER)
    a.mov("edx", 0)
    a.plain("wrmsr")


def _exchange_tr(a: Assembler, tr_from: int) -> None:
    """Make USER_B what SCRATCH is, but for TR's hidden part, which comes from page `tr_from`."""
    _copy(a, linear(at.SCRATCH) + at.SAVE_AREA, linear(at.USER_B) + at.SAVE_AREA, 0x240)
    _copy(a, linear(tr_from) + 0x490, linear(at.USER_B) + 0x490, 16)
    a.mov("rsi", linear(at.SCRATCH) + 0x490)
    a.mov("rdi", linear(at.USER_B) + 0x490)
    a.mov("eax", Mem("rsi", 0))
    a.mov(Mem("rdi", 0), "ax")


def _user(a: Assembler) -> None:
    """To CPL 3 and back.  A fault there needs a TSS, so TR is the runtime's while the operation runs."""
    a.label("user")
    a.mov(_variable("rsp"), "rsp")
    _with_svme(
        a, [("vmsave", at.USER_A), ("vmsave", at.SCRATCH), ("swap_tr", at.START), ("vmload", at.USER_B)]
    )
    a.plain("pushfq")
    a.pop("rdx")
    a.lea("r14", Mem("rip", "leave"))
    a.push(at.USER_DATA)
    a.mov("rax", linear(at.USER_STACK))
    a.push("rax")
    a.push("rdx")
    a.push(at.USER_CODE)
    a.push("r13")
    a.plain("iretq")
    a.label("leave")
    a.interrupt(USER_VECTOR)
    a.label("left")
    a.mov("rdx", Mem("rsp", 16))
    a.label("back")  # RDX: the RFLAGS to go on with
    a.mov(_variable("result"), "rax")
    a.mov(_variable("flags"), "rdx")
    a.mov("rsp", _variable("rsp"))
    a.mov("eax", at.STACK_SELECTOR)
    a.mov("ss", "eax")
    _with_svme(a, [("vmsave", at.SCRATCH), ("swap_tr", at.USER_A), ("vmload", at.USER_B)])
    a.lea("r14", Mem("rip", "log"))
    a.mov("rax", _variable("flags"))
    a.push("rax")
    a.plain("popfq")
    a.mov("rax", _variable("result"))
    a.jump("r14")


def _exceptions(a: Assembler) -> None:
    for vector in range(32):
        a.label(f"exception_{vector}")
        if vector not in _WITH_CODE:
            a.push(0)
        a.push(vector + 1)
        a.jump("exception")
    a.label("exception")
    a.pop("r10")
    a.pop("r11")
    a.mov("eax", 0)
    a.mov("rdx", Mem("rsp", 16))
    a.mov("rcx", Mem("rsp", 8))
    a.test("ecx", 3)
    a.jump("back", "ne")
    a.mov("rsp", Mem("rsp", 24))
    a.push("rdx")
    a.plain("popfq")
    a.jump("r14")
    a.label("interrupt")
    a.push("rax")
    a.mov("eax", 1)
    a.mov(_variable("interrupts"), "rax")
    a.mov("rax", at.APIC_LINEAR)
    a.push("rcx")
    a.mov("ecx", 0)
    a.mov(Mem("rax", 0xB0), "ecx")
    a.pop("rcx")
    a.pop("rax")
    a.plain("iretq")


def _loop(a: Assembler) -> None:
    a.label("log")
    a.mov(Mem("r12", 0), "r10d")
    a.mov(Mem("r12", 4), "r11d")
    a.mov(Mem("r12", 8), "rax")
    a.arithmetic("add", "r12", 16)
    a.label("next")
    a.mov("rbx", Mem("r15", 0))
    a.mov("r8", Mem("r15", 8))
    a.mov("r9", Mem("r15", 16))
    a.mov("r13", Mem("r15", 24))
    a.arithmetic("add", "r15", 32)
    a.mov("r10d", 0)
    a.mov("r11d", 0)
    a.jump("rbx")
    a.label("op_begin")
    a.mov(_variable("state"), "r8")
    a.mov("r12", "r9")
    a.jump("next")
    a.label("op_done")
    a.mov("rdi", linear(at.LOG))
    a.mov("eax", DONE)
    a.mov(Mem("rdi", 0), "rax")
    a.plain("magic")
    a.mov("edx", 0xF4)
    a.mov("eax", 0)
    a.plain("out_dx_al")
    a.label("stop")
    a.plain("hlt")
    a.jump("stop")


def _state(a: Assembler) -> None:
    """Store the state a program ends with, then make everything as it was at the start.

    Long, since it is one stretch of code without a branch.
    """
    a.label("op_end")
    a.mov("rbx", _variable("state"))
    a.plain("pushfq")
    a.pop("rax")
    a.mov(Mem("rbx", 0), "rax")
    place = 8
    for register in ("cr0", "cr2", "cr3", "cr4", "dr6", "dr7", "cs", "ss", "ds", "es"):
        a.mov("eax" if register in ("cs", "ss", "ds", "es") else "rax", register)
        a.mov(Mem("rbx", place), "rax")
        place += 8
    a.plain("cli")
    for msr in (_EFER, _TSC_AUX, _VM_HSAVE_PA):
        a.mov("ecx", msr)
        a.plain("rdmsr")
        a.shift("shl", "rdx", 32)
        a.arithmetic("or", "rax", "rdx")
        a.mov(Mem("rbx", place), "rax")
        place += 8
    gif = place
    a.table("sgdt", Mem("rbx", place + 8))
    a.table("sidt", Mem("rbx", place + 24))
    _with_svme(a, [("vmsave", at.SCRATCH)])
    _probe_gif(a)
    a.mov(Mem("rbx", gif), "rax")
    a.lea("rdi", Mem("rbx", place + 40))
    _copy(a, linear(at.SCRATCH) + 0x440, "rdi", 96)
    _copy(a, linear(at.SCRATCH) + 0x600, "rdi", 64)
    for pa in at.POOL:
        _copy(a, linear(pa) + 0x70, "rdi", 8)
        _copy(a, linear(pa) + at.SAVE_AREA, "rdi", at.SAVE_END - at.SAVE_AREA)
    _copy(a, linear(at.TABLES), "rdi", at.TABLES_BYTES)
    a.label("reset")
    a.mov("ecx", _EFER)
    a.mov("eax", at.EFER)
    a.mov("edx", 0)
    a.plain("wrmsr")
    a.mov("eax", at.START)
    a.plain("vmload", "stgi")
    _window(a, "drain")
    for register, value in (("cr2", 0), ("dr6", at.DR6), ("dr7", at.DR7), ("cr0", at.CR0), ("cr4", at.CR4)):
        a.mov("eax", value)
        a.mov(register, "rax")
    for msr, value in ((_TSC_AUX, 0), (_VM_HSAVE_PA, at.HSAVE)):
        a.mov("ecx", msr)
        a.mov("eax", value)
        a.mov("edx", 0)
        a.plain("wrmsr")
    for number, pa in enumerate(at.POOL):
        fresh = linear(at.FRESH) + 0x1000 * number
        _copy(a, fresh, linear(pa), at.CONTROL_BYTES)
        _copy(a, fresh + at.SAVE_AREA, linear(pa) + at.SAVE_AREA, at.SAVE_END - at.SAVE_AREA)
    _copy(a, linear(at.TABLES) + 0x800, linear(at.TABLES), at.TABLES_BYTES)
    a.jump("next")


def _probe_gif(a: Assembler) -> None:
    """RAX := GIF, seen by whether an interrupt sent to ourselves arrives while IF is set."""
    a.mov("eax", 0)
    a.mov(_variable("interrupts"), "rax")
    a.mov("rdi", at.APIC_LINEAR)
    a.mov("eax", 0x4_4000 | APIC_VECTOR)
    a.mov(Mem("rdi", 0x300), "eax")
    _window(a, "probe")
    a.mov("rax", _variable("interrupts"))


def _window(a: Assembler, name: str) -> None:
    """Let interrupts in for some instructions and a jump: TCG looks for them only between its blocks."""
    a.plain("sti", "nop", "nop", "nop")
    a.jump("window_" + name)
    a.label("window_" + name)
    a.plain("nop", "nop", "nop")
    a.jump("closed_" + name)
    a.label("closed_" + name)
    a.plain("cli")


def _start(a: Assembler) -> None:
    """From the boot stub: our own tables, no mapping but the direct map, interrupts ours alone."""
    a.label("start")
    a.mov("rsp", linear(at.STACK))
    a.table("lgdt", Mem("rip", "gdtr"))
    a.table("lidt", Mem("rip", "idtr"))
    a.push(at.CODE_SELECTOR)
    a.lea("rax", Mem("rip", "started"))
    a.push("rax")
    a.plain("retfq")
    a.label("started")
    for segment, selector in (("ss", at.STACK_SELECTOR), ("ds", at.USER_DATA), ("es", at.USER_DATA)):
        a.mov("eax", selector)
        a.mov(segment, "eax")
    a.mov("rdi", linear(at.PML4))
    a.mov("eax", 0)
    a.mov(Mem("rdi", 0), "rax")
    a.mov("rax", "cr3")
    a.mov("cr3", "rax")
    a.mov("eax", 0xFF)
    for port in (0x21, 0xA1):
        a.mov("edx", port)
        a.plain("out_dx_al")
    a.mov("rdi", at.APIC_LINEAR)
    for register, value in ((0xF0, 0x1FF), (0x350, 0x1_0700)):
        a.mov("eax", value)
        a.mov(Mem("rdi", register), "eax")
    a.plain("cld")
    a.lea("r14", Mem("rip", "log"))
    a.mov("r15", linear(at.PROGRAMS))
    a.jump("reset")
    a.label("gdtr")
    a.data(pack("<HQ", at.GDT_LIMIT, linear(at.TABLES)))
    a.label("idtr")
    a.data(pack("<HQ", at.IDT_LIMIT, linear(at.IDT)))


def _long_mode() -> bytes:
    """The stub at CODE, entered in 32-bit protected mode: paging and long mode on, then to the runtime."""
    stub = (
        b"\x0f\x01\x15"
        + pack("<I", at.CODE + 0x38)  # lgdt [the six bytes at 0x38]
        + b"\xb8"
        + pack("<I", at.CR4)
        + b"\x0f\x22\xe0"  # mov eax, CR4; mov cr4, eax
        + b"\xb8"
        + pack("<I", at.PML4)
        + b"\x0f\x22\xd8"  # mov eax, PML4; mov cr3, eax
        + b"\xb9"
        + pack("<I", _EFER)
        + b"\x31\xd2"  # mov ecx, EFER; xor edx, edx
        + b"\xb8"
        + pack("<I", at.EFER_WRITTEN)
        + b"\x0f\x30"  # mov eax, ...; wrmsr
        + b"\xb8"
        + pack("<I", at.CR0)
        + b"\x0f\x22\xc0"  # mov eax, CR0; mov cr0, eax
        + b"\xea"
        + pack("<IH", at.CODE + 0x40, at.CODE_SELECTOR)  # jmp to the 64-bit code at 0x40
    ).ljust(0x38, b"\x90")
    table = pack("<HI", at.GDT_LIMIT, at.TABLES).ljust(8, b"\0")
    jump = b"\x48\xb8" + pack("<Q", linear(at.CODE) + 0x50) + b"\xff\xe0"  # mov rax, start; jmp rax
    return stub + table + jump


@cache
def kernel() -> tuple[bytes, dict[str, int]]:
    """The code at CODE, and the linear addresses of its labels."""
    a = Assembler(linear(at.CODE))
    a.data(_long_mode().ljust(0x50, b"\x90"))
    for part in (_start, _loop, _operations, _world_switch, _user, _exceptions, _state):
        part(a)
    a.data(bytes(-len(a.code) % 8))
    for name in _VARIABLES:
        a.label("v_" + name)
        a.data(bytes(8))
    code = a.finish()
    if len(code) > at.NESTED_PML4 - at.CODE:
        raise ValueError(f"the runtime is {len(code)} bytes long, more than its place holds")
    return code, a.labels
