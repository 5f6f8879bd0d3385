"""The bare-metal runtime: an interpreter of programs in 64-bit mode, and the log it keeps.

An operation is a record of four words: the code that carries it out, two operands, and for CPL 3 the code to
go to there.  The code ends in JMP R14, at CPL 0 to `log`.  A fault goes on at the same place, with no result.
While a program runs, R12 is where the next log entry goes, R15 the next record, R8 and R9 the operands, R10
vector + 1 and R11 the error code.  Each interrupt that is taken adds 0x100 to R10, each NMI 0x10000, so the
entry tells when.  RBP is the program's own; the other registers are scratch.  #VMEXIT leaves all of these
alone, so a guest goes on with the same log, and what it had not logged yet ends up in VMRUN's entry.

A log entry is vector + 1 and marks, and error code, four bytes each, and a result of eight.  Before the
entries of a program lies the state it ended with, laid out as in outcomes.fields().

The module is long because it is one program, written where its pieces can be read beside each other.
"""

from functools import cache
from struct import pack

from . import layout as at
from .assembler import Assembler, Mem
from .layout import linear

#: Exceptions that push an error code.
_WITH_CODE = frozenset({8, 10, 11, 12, 13, 14, 17, 21, 29, 30})
#: The interrupt that a program sends itself, and how code at CPL 3 comes back.
APIC_VECTOR, USER_VECTOR = 0x40, 0x81
#: What an interrupt and an NMI add to an entry's first word.
INTR_MARK, NMI_MARK = 0x100, 0x1_0000
#: The local APIC: end of interrupt, requests for vectors 0x40 to 0x5F, command; interrupt to self, NMI to 0.
_EOI, _REQUESTS, _COMMAND, _TO = 0xB0, 0x220, 0x300, 0x310
_SEND_INTR, _SEND_NMI = 0x4_4000 | APIC_VECTOR, 0x4400
_EFER, _TSC_AUX, _VM_HSAVE_PA, _PAT = 0xC000_0080, 0xC000_0103, 0xC001_0117, 0x277
_SVME = 0x1000
#: RFLAGS that SYSCALL, SYSRET and IRET are tried with (DF, NT, AC), and those that are looked at after.
EXTRA_FLAGS = 0x4_4400
FLAGS = 0x4_7600
#: The runtime's variables, a word each, behind its code.
_VARIABLES = (
    *("pc", "guest", "state", "rsp", "efer", "flags", "result", "lent"),
    *("table", "table_end", "old_table", "old_table_end"),
)
_SIZES = {8: "r9", 4: "r9d", 2: "r9w", 1: "r9b"}
_LOADS = {8: "rax", 4: "eax", 2: "ax", 1: "al"}
#: The log's head says this once all programs are through.
DONE = 0x656E_6F64
#: The words that the state begins with: registers, MSRs, then what the runtime finds out.
STATE_REGISTERS = (
    *("CR0", "CR2", "CR3", "CR4", "CR8", "DR0", "DR1", "DR2", "DR3", "DR6", "DR7"),
    *("CS", "SS", "DS", "ES", "RBP"),
)
STATE_MSRS = {"EFER": _EFER, "TSC_AUX": _TSC_AUX, "VM_HSAVE_PA": _VM_HSAVE_PA, "PAT": _PAT}
_WORDS = 1 + len(STATE_REGISTERS) + len(STATE_MSRS) + 2
#: Bytes of a pool page in the state, and of the whole state.
PAGE_BYTES = sum(end - start for start, end in at.CONTROL_PARTS) + at.SAVE_END - at.SAVE_AREA
STATE_BYTES = _WORDS * 8 + 2 * 16 + 96 + 64 + len(at.POOL) * PAGE_BYTES + at.TABLES_BYTES + at.OTHER_BYTES


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
    for name in ("clgi", "stgi", "cli", "sti", "swapgs", "vmmcall"):
        operation(name)
        a.plain(name)
        end()
    for name in ("cli", "clgi", "vmmcall"):
        operation("sti_" + name)
        a.plain("sti", name)
        end()
    operation("invlpga")
    a.mov("rax", "r8")
    a.mov("ecx", "r9d")
    a.plain("invlpga")
    end()
    operation("rdtscp")
    a.plain("rdtscp")
    a.mov("eax", "ecx")
    a.jump("r14")
    operation("rdpid")
    a.unary("rdpid", "rax")
    a.jump("r14")
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
    for segment in ("cs", "ss", "ds", "es", "fs", "gs"):
        operation("mov_from_sreg_" + segment)
        a.mov("eax", segment)
        a.jump("r14")
        if segment != "cs":
            operation("mov_to_sreg_" + segment)
            a.mov(segment, "r8d")
            end()
    for register in (*(f"cr{n}" for n in (0, 2, 3, 4, 8)), *(f"dr{n}" for n in (0, 1, 2, 3, 6, 7))):
        operation(f"mov_from_{register[:2]}_{register[2:]}")
        a.mov("rax", register)
        a.jump("r14")
        operation(f"mov_to_{register[:2]}_{register[2:]}")
        a.mov(register, "r8")
        end()
    operation("mov_from_gpr_rbp")
    a.mov("rax", "rbp")
    a.jump("r14")
    operation("mov_to_gpr_rbp")
    a.mov("rbp", "r8")
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


def _tables(a: Assembler) -> None:
    """LGDT and LIDT of limit R8 and base R9, SGDT and SIDT: the result is the base XOR the limit << 48.

    A table whose base is not canonical would carry nobody, so the one before comes back; the result shows it.
    """
    for table in ("gdt", "idt"):
        store, load = "s" + table, "l" + table
        a.label("op_" + store)
        a.lea("rdi", _variable("table"))
        a.table(store, Mem("rdi"))
        _table_result(a)
        a.jump("r14")
        a.label("op_" + load)
        a.lea("rdi", _variable("table"))
        a.mov(Mem("rdi"), "r8w")
        a.mov(Mem("rdi", 2), "r9")
        a.lea("rsi", _variable("old_table"))
        a.table(store, Mem("rsi"))
        a.table(load, Mem("rdi"))
        a.table(store, Mem("rdi"))
        _table_result(a)
        a.mov("rdx", Mem("rdi", 2))
        a.shift("sar", "rdx", 47)
        a.arithmetic("add", "rdx", 1)
        a.arithmetic("cmp", "rdx", 1)
        a.jump(load + "_stays", "be")
        a.table(load, Mem("rsi"))
        a.label(load + "_stays")
        a.jump("r14")


def _table_result(a: Assembler) -> None:
    a.mov("rax", Mem("rdi", 2))
    a.mov("ecx", 0)
    a.mov("cx", Mem("rdi", 0))
    a.shift("shl", "rcx", 48)
    a.arithmetic("xor", "rax", "rcx")


def _send(a: Assembler) -> None:
    """Send the CPU its own interrupt or NMI."""
    for name, command in (("intr", _SEND_INTR), ("nmi", _SEND_NMI)):
        a.label("op_" + name)
        a.mov("rdi", at.APIC_LINEAR)
        a.mov("eax", 0)
        a.mov(Mem("rdi", _TO), "eax")
        a.mov("eax", command)
        a.mov(Mem("rdi", _COMMAND), "eax")
        a.mov("eax", 0)
        a.jump("r14")


def _world_switch(a: Assembler) -> None:
    """VMRUN of the pool's VMCB: the guest runs the records at R9; the result is EXITCODE.

    An exception goes on at `either`: one of VMRUN's own in the host, or, before the guest's first
    instruction, one that EVENTINJ injected.  The stack pointer tells which.  Long, since it is both sides.
    """
    a.label("op_vmrun")
    a.mov(_variable("pc"), "r15")
    a.mov(_variable("guest"), "r9")
    a.mov("rdi", linear(at.VMCB))
    a.lea("rax", Mem("rip", "in_guest"))
    a.mov(Mem("rdi", 0x578), "rax")
    a.mov("rax", linear(at.GUEST_STACK))
    a.mov(Mem("rdi", 0x5D8), "rax")
    a.lea("r14", Mem("rip", "either"))
    a.mov("rax", "r8")
    a.plain("vmrun")
    a.mov("r15", _variable("pc"))
    a.lea("r14", Mem("rip", "log"))
    a.arithmetic("and", "r10d", 0x7FFF_FF00)
    a.mov("r11d", 0)
    a.mov("rax", _variable("lent"))
    a.test("eax", 1)
    a.jump("all_back", "e")
    a.call("take_back")
    a.label("all_back")
    a.mov("rdi", linear(at.VMCB))
    a.mov("rax", Mem("rdi", 0x70))
    a.jump("r14")
    a.label("either")
    a.lea("r14", Mem("rip", "log"))
    a.mov("rdx", linear(at.GUEST_STACK))
    a.arithmetic("cmp", "rsp", "rdx")
    a.jump("log", "ne")
    a.mov("r15", _variable("guest"))
    a.jump("log")
    a.label("in_guest")
    a.mov("r15", _variable("guest"))
    a.lea("r14", Mem("rip", "log"))
    a.jump("next")
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


def _set_svme(a: Assembler) -> None:
    """Set EFER.SVME, so that VMSAVE and VMLOAD work.  Takes RAX, RCX, RDX, as _reset_svme does."""
    a.mov("ecx", _EFER)
    a.plain("rdmsr")
    a.mov(_variable("efer"), "rax")
    a.arithmetic("or", "eax", _SVME)
    a.plain("wrmsr")


def _reset_svme(a: Assembler) -> None:
    a.mov("rax", _variable("efer"))
    a.mov("ecx", _EFER)
    a.mov("edx", 0)
    a.plain("wrmsr")


def _lending(a: Assembler) -> None:
    """Subroutines around CPL 3: a fault there needs a TSS, SYSCALL an entry, so TR and LSTAR are lent.

    TR's selector stays the program's.  `lend` keeps RSP and RFLAGS, too.
    """
    a.label("lend")
    a.plain("pushfq")
    a.pop("rax")
    a.mov(_variable("flags"), "rax")
    a.lea("rax", Mem("rsp", 8))
    a.mov(_variable("rsp"), "rax")
    a.mov("eax", 1)
    a.mov(_variable("lent"), "rax")
    _set_svme(a)
    for pa in (at.USER_A, at.USER_B):
        a.mov("eax", pa)
        a.plain("vmsave")
    a.mov("rdi", linear(at.USER_B))
    a.mov("rsi", linear(at.START))
    _lend_words(a)
    a.label("take_back")
    a.mov("eax", 0)
    a.mov(_variable("lent"), "rax")
    _set_svme(a)
    a.mov("eax", at.USER_B)
    a.plain("vmsave")
    a.mov("rdi", linear(at.USER_B))
    a.mov("rsi", linear(at.USER_A))
    _lend_words(a)


def _lend_words(a: Assembler) -> None:
    for place, register in ((0x492, "ax"), (0x494, "eax"), (0x498, "rax"), (0x608, "rax")):
        a.mov(register, Mem("rsi", place))
        a.mov(Mem("rdi", place), register)
    a.mov("eax", at.USER_B)
    a.plain("vmload")
    _reset_svme(a)
    a.plain("ret")


def _user(a: Assembler) -> None:
    """To CPL 3 and back, and the instructions that go either way; long, since they share the way back."""
    a.label("user")
    a.call("lend")
    a.lea("r14", Mem("rip", "leave"))
    a.push(at.USER_DATA)
    a.mov("rax", linear(at.USER_STACK))
    a.push("rax")
    a.mov("rax", _variable("flags"))
    a.push("rax")
    a.push(at.USER_CODE)
    a.push("r13")
    a.plain("iretq")
    a.label("leave")
    a.interrupt(USER_VECTOR)
    for name in ("syscall", "sysret", "iret"):
        a.label("op_" + name)
        a.call("lend")
        a.lea("r14", Mem("rip", "return"))
        a.jump("do_" + name)
    a.label("return")
    a.plain("cli", "cld")
    a.mov(_variable("result"), "rax")
    a.mov("rsp", _variable("rsp"))
    a.mov("eax", at.STACK_SELECTOR)
    a.mov("ss", "eax")
    a.call("take_back")
    a.lea("r14", Mem("rip", "log"))
    a.mov("rax", _variable("flags"))
    a.push("rax")
    a.plain("popfq")
    a.mov("rax", _variable("result"))
    a.jump("r14")
    a.label("do_syscall")
    a.plain("pushfq")
    a.pop("rax")
    a.arithmetic("or", "eax", EXTRA_FLAGS)
    a.push("rax")
    a.plain("popfq", "syscall")
    a.label("syscalled")
    _where(a)
    _own_code(a, "syscalled_back")
    a.jump("return")
    a.label("do_sysret")
    a.mov("rdx", _variable("flags"))
    a.arithmetic("or", "rdx", EXTRA_FLAGS)
    a.mov("r11", "rdx")
    a.lea("rcx", Mem("rip", "arrived"))
    a.plain("sysretq")
    a.label("do_iret")
    a.mov("rdx", _variable("flags"))
    a.arithmetic("or", "rdx", EXTRA_FLAGS)
    a.mov("rax", "rsp")
    a.push("r9")
    a.push("rax")
    a.push("rdx")
    a.push("r8")
    a.lea("rax", Mem("rip", "arrived"))
    a.push("rax")
    a.plain("iretq")
    a.label("arrived")
    _where(a)
    a.mov("ecx", "cs")
    a.test("ecx", 3)
    a.jump("leave", "ne")
    _own_code(a, "arrived_back")
    a.jump("return")


def _where(a: Assembler) -> None:
    """RAX := CS, SS << 16, those of FLAGS << 32; R11, which SYSCALL wrote, := 0."""
    a.plain("pushfq")
    a.pop("rax")
    a.arithmetic("and", "eax", FLAGS)
    a.shift("shl", "rax", 32)
    for segment, place in (("ss", 16), ("cs", 0)):
        a.mov("ecx", segment)
        a.arithmetic("and", "ecx", 0xFFFF)  # QEMU keeps more bits of a selector beyond 0xFFFF
        a.shift("shl", "rcx", place)
        a.arithmetic("or", "rax", "rcx")
    a.mov("r11d", 0)


def _own_code(a: Assembler, name: str) -> None:
    """CS := the runtime's."""
    a.push(at.CODE_SELECTOR)
    a.lea("rcx", Mem("rip", name))
    a.push("rcx")
    a.plain("retfq")
    a.label(name)


def _exceptions(a: Assembler) -> None:
    for vector in range(32):
        if vector == 2:
            continue
        a.label(f"exception_{vector}")
        if vector not in _WITH_CODE:
            a.push(0)
        a.push(vector + 1)
        a.jump("exception")
    a.label("exception")
    a.pop("rax")
    a.arithmetic("or", "r10", "rax")
    a.pop("r11")
    a.mov("eax", 0)
    a.mov("rdx", Mem("rsp", 16))
    a.mov("rcx", Mem("rsp", 8))
    a.test("ecx", 3)
    a.jump("return", "ne")
    a.mov("rsp", Mem("rsp", 24))
    a.push("rdx")
    a.plain("popfq")
    a.jump("r14")
    a.label("interrupt")
    a.push("rax")
    a.push("rcx")
    a.arithmetic("add", "r10d", INTR_MARK)
    a.mov("rax", at.APIC_LINEAR)
    a.mov("ecx", 0)
    a.mov(Mem("rax", _EOI), "ecx")
    a.pop("rcx")
    a.pop("rax")
    a.plain("iretq")
    a.label("exception_2")
    a.arithmetic("add", "r10d", NMI_MARK)
    a.plain("iretq")


def _loop(a: Assembler) -> None:
    a.label("log")
    a.mov(Mem("r12", 0), "r10d")
    a.mov(Mem("r12", 4), "r11d")
    a.mov(Mem("r12", 8), "rax")
    a.arithmetic("add", "r12", 16)
    a.mov("r10d", 0)
    a.mov("r11d", 0)
    a.label("next")
    a.mov("rbx", Mem("r15", 0))
    a.mov("r8", Mem("r15", 8))
    a.mov("r9", Mem("r15", 16))
    a.mov("r13", Mem("r15", 24))
    a.arithmetic("add", "r15", 32)
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
    for name in STATE_REGISTERS:
        a.mov("eax" if name[1:] == "S" else "rax", name.lower())
        a.mov(Mem("rbx", place), "rax")
        place += 8
    a.plain("cli")
    for msr in STATE_MSRS.values():
        a.mov("ecx", msr)
        a.plain("rdmsr")
        a.shift("shl", "rdx", 32)
        a.arithmetic("or", "rax", "rdx")
        a.mov(Mem("rbx", place), "rax")
        place += 8
    gif, waiting = place, place + 8
    a.mov("rdi", at.APIC_LINEAR)
    a.mov("eax", Mem("rdi", _REQUESTS))
    a.mov(Mem("rbx", waiting), "rax")
    a.table("sgdt", Mem("rbx", waiting + 8))
    a.table("sidt", Mem("rbx", waiting + 24))
    _set_svme(a)
    a.mov("eax", at.SCRATCH)
    a.plain("vmsave")
    _probe_gif(a)
    a.mov(Mem("rbx", gif), "r10")
    a.lea("rdi", Mem("rbx", waiting + 40))
    _copy(a, linear(at.SCRATCH) + 0x440, "rdi", 96)
    _copy(a, linear(at.SCRATCH) + 0x600, "rdi", 64)
    for pa in at.POOL:
        for start, end in (*at.CONTROL_PARTS, (at.SAVE_AREA, at.SAVE_END)):
            _copy(a, linear(pa) + start, "rdi", end - start)
    _copy(a, linear(at.TABLES), "rdi", at.TABLES_BYTES)
    _copy(a, linear(at.TABLES_OTHER), "rdi", at.OTHER_BYTES)
    a.label("reset")
    a.table("lgdt", Mem("rip", "gdtr"))
    a.table("lidt", Mem("rip", "idtr"))
    for segment, selector in (("ss", at.STACK_SELECTOR), ("ds", at.USER_DATA), ("es", at.USER_DATA)):
        a.mov("eax", selector)
        a.mov(segment, "eax")
    a.mov("ecx", _EFER)
    a.mov("eax", at.EFER)
    a.mov("edx", 0)
    a.plain("wrmsr")
    a.mov("eax", at.START)
    a.mov("r10d", 0)
    a.plain("vmload")
    _unmask_nmi(a)
    a.plain("stgi")
    _window(a, "drain")
    a.shift("shr", "r10", 16)
    a.mov(Mem("rbx", waiting + 4), "r10d")
    a.mov("eax", at.PML4)
    a.mov("rcx", "cr3")
    a.arithmetic("cmp", "rax", "rcx")
    a.jump("same_cr3", "e")
    a.mov("cr3", "rax")
    a.label("same_cr3")
    for register, value in (("cr0", at.CR0), ("cr4", at.CR4), ("dr6", at.DR6), ("dr7", at.DR7)):
        a.mov("eax", value)
        a.mov(register, "rax")
    a.mov("eax", 0)
    for register in ("cr2", "dr0", "dr1", "dr2", "dr3", "rbp"):
        a.mov(register, "rax")
    for msr, value in ((_TSC_AUX, 0), (_VM_HSAVE_PA, at.HSAVE), (_PAT, at.REGISTERS_AT_START["PAT"])):
        a.mov("ecx", msr)
        a.mov("eax", value & 0xFFFF_FFFF)
        a.mov("edx", value >> 32)
        a.plain("wrmsr")
    for number, pa in enumerate(at.POOL):
        fresh = linear(at.FRESH) + 0x1000 * number
        _copy(a, fresh, linear(pa), at.CONTROL_BYTES)
        _copy(a, fresh + at.SAVE_AREA, linear(pa) + at.SAVE_AREA, at.SAVE_END - at.SAVE_AREA)
    _copy(a, linear(at.TABLES_FRESH), linear(at.TABLES), at.TABLES_BYTES)
    _copy(a, linear(at.TABLES_FRESH), linear(at.TABLES_OTHER), at.TABLES_BYTES)
    for start, end in at.MSRPM_PARTS:
        _copy(a, linear(at.FRESH), linear(at.MSRPM) + start, end - start)
    a.mov("r10d", 0)
    a.mov("r11d", 0)
    a.jump("next")


def _unmask_nmi(a: Assembler) -> None:
    """IRET to the next instruction: an NMI whose handler a #VMEXIT cut short is over."""
    a.mov("rax", "rsp")
    a.push(at.STACK_SELECTOR)
    a.push("rax")
    a.plain("pushfq")
    a.push(at.CODE_SELECTOR)
    a.lea("rax", Mem("rip", "unmasked"))
    a.push("rax")
    a.plain("iretq")
    a.label("unmasked")


def _probe_gif(a: Assembler) -> None:
    """R10 := GIF, seen by whether an interrupt sent to ourselves is taken while IF is set and CR8 zero."""
    a.mov("eax", 0)
    a.mov("cr8", "rax")
    a.mov("rdi", at.APIC_LINEAR)
    a.mov("eax", _SEND_INTR)
    a.mov(Mem("rdi", _COMMAND), "eax")
    a.mov("r10d", 0)
    _window(a, "probe")
    a.shift("shr", "r10d", 8)


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
    a.mov("rbx", linear(at.LOG))
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
    a.jump("start")
    a.data(bytes(at.SYSCALL_ENTRY - a.here))
    a.jump("syscalled")
    for part in (
        _start,
        _loop,
        _operations,
        _tables,
        _send,
        _world_switch,
        _lending,
        _user,
        _exceptions,
        _state,
    ):
        part(a)
    a.data(bytes(-len(a.code) % 8))
    for name in _VARIABLES:
        a.label("v_" + name)
        a.data(bytes(8))
    code = a.finish()
    if len(code) > at.NESTED_PML4 - at.CODE:
        raise ValueError(f"the runtime is {len(code)} bytes long, more than its place holds")
    return code, a.labels
