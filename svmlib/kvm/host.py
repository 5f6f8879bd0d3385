"""The host as it boots: CPUs with GDT, TSS, per-CPU area; threads with an FS, GS and LDT of their own."""

from random import Random
from typing import NamedTuple

from ..faults import VECTORS
from ..instructions.intercepts import EXITCODES
from ..instructions.segments import descriptor
from ..instructions.system import TSS_IST1
from ..memory import DIRECT_MAP, Memory, canonical
from ..processor import CR0_PE, CR0_PG, CR4_FSGSBASE, CR4_PAE, EFER_SVME, Processor
from ..vmcb import Vmcb
from . import guest
from .entry import NMI_IST
from .percpu import FIELDS, GDT, NMI_STACK_TOP, PER_CPU_OFFSET, SAVE_AREA, TSS, area
from .vmenter import LDT_SELECTOR, TSS_SELECTOR

#: Events that end a guest's run before it has begun, if they wait; and the exit by a machine check.
ENDING = ("INTR", "NMI", "SMI", "INIT")
MACHINE_CHECK = EXITCODES["EXCEPTION"] + VECTORS["#MC"]

#: Physical addresses of task structures, VMCBs and LDTs, a page each.
TASKS, VMCBS, LDTS = 0x200_0000, 0x300_0000, 0x400_0000
#: Offset in a task_struct of thread.gsbase, where the kernel keeps the user's GS base.  The number is ours:
#: Linux's depends on its configuration.
THREAD_GSBASE = 0x18

#: Flat descriptors of the 64-bit kernel's GDT by selector: (attrib, limit, base).
_FLAT = 0xFFFF_FFFF
SEGMENTS = {
    0x10: (0xA9B, _FLAT, 0),
    0x18: (0xC93, _FLAT, 0),
    0x2B: (0xCF3, _FLAT, 0),
    0x33: (0xAFB, _FLAT, 0),
    0x63: (0xCF3, 0xFFFF, 0x0008_1000),
}
#: A data segment that each LDT here holds as its second entry.
LDT_SEGMENT = 0x0F
_LDT_ENTRY = (0xCF3, 0xFFFFF, 0x0009_2000)
_TSS_LIMIT, _LDT_LIMIT, _GDT_LIMIT = 0x67, 0x0F, 0x7F


class Host(NamedTuple):
    """What kind of host: everything a run is not told by its path and its exits."""

    #: Chooses every register value of host and guest that software is free to choose.
    seed: int = 0
    #: Whether the kernel uses FSGSBASE (Linux since 5.9 where the CPU has it): CR4 and the NMI's entry.
    fsgsbase: bool = True
    #: The CPU's NullSelectorClearsBase (Zen 2 and later).
    null_clears_base: bool = True
    #: Logical CPUs and vCPUs.
    cpus: int = 2
    vcpus: int = 2

    @property
    def features(self) -> tuple[str, ...]:
        """What static_cpu_has() knows of."""
        return ("FSGSBASE",) if self.fsgsbase else ()


def boot(processor: Processor, host: Host) -> None:
    """Bring a CPU up as Linux does: descriptor tables, TSS, per-CPU area, SYSCALL and SYSENTER MSRs."""
    memory, regs, n = processor.memory, processor.regs, processor.index
    base = area(n, host.seed)
    _write_tables(memory, base - DIRECT_MAP, base)
    memory.write(PER_CPU_OFFSET + 8 * n - DIRECT_MAP, base)
    fields = {
        "cpu_number": n,
        "save_area_pa": base - DIRECT_MAP + SAVE_AREA,
        "tss_desc": base + GDT + TSS_SELECTOR,
    }
    for name, value in fields.items():
        memory.write(base - DIRECT_MAP + FIELDS[name].offset, value, FIELDS[name].size)
    regs.update(_kernel_registers(host, n, base))


def _write_tables(memory: Memory, pa: int, base: int) -> None:
    gdt, tss = pa + GDT, pa + TSS
    for selector, (attrib, limit, address) in SEGMENTS.items():
        memory.write(gdt + (selector & ~7), descriptor(attrib, limit, address))
    memory.write(gdt + TSS_SELECTOR, descriptor(0x08B, _TSS_LIMIT, base + TSS))
    memory.write(gdt + TSS_SELECTOR + 8, (base + TSS) >> 32)
    memory.write(tss + TSS_IST1 + 8 * (NMI_IST - 1), base + NMI_STACK_TOP)


def _kernel_registers(host: Host, n: int, base: int) -> dict[str, int]:
    every, own = Random(f"host {host.seed}"), Random(f"host {host.seed} CPU {n}")
    entry = {name: canonical(1 << 47 | every.getrandbits(47)) for name in ("LSTAR", "CSTAR")}
    cr4 = CR4_PAE | 1 << 7 | (CR4_FSGSBASE if host.fsgsbase else 0)
    registers = {
        "GS.base": base, "GDTR.base": base + GDT, "GDTR.limit": _GDT_LIMIT,
        "IDTR.base": canonical(1 << 47 | own.getrandbits(47)), "IDTR.limit": 0xFFF,
        "STAR": 0x0023_0010 << 32, **entry, "SFMASK": every.getrandbits(22),
        "SYSENTER_CS": 0x10, "SYSENTER_ESP": own.getrandbits(32), "SYSENTER_EIP": every.getrandbits(32),
        "TSC_AUX": n, "SPEC_CTRL": 0, "XCR0": 7, "XSS": 0, "PKRU": 0x5555_5554, "PAT": 0x0407_0506_0007_0106,
        "CR0": CR0_PG | CR0_PE | 1 << 16, "CR3": own.getrandbits(20) << 12, "CR4": cr4,
        "EFER": EFER_SVME | 0xD01,
        "RFLAGS": 0x202, "RIP": canonical(1 << 47 | every.getrandbits(47)), "RSP": base + 0xFF00,
        "DR6": 0xFFFF_0FF0, "DR7": 0x400,
        **{name: own.getrandbits(64) for name in guest.SWAPPED_BY_KVM if name[0] == "R"},
    }  # fmt: skip
    for name, selector in (("CS", 0x10), ("SS", 0x18), ("DS", 0), ("ES", 0)):
        registers |= _segment(name, selector, *(SEGMENTS[selector] if selector else (0, 0, 0)))
    return registers | _segment("TR", TSS_SELECTOR, 0x08B, _TSS_LIMIT, base + TSS)


def _segment(name: str, selector: int, attrib: int, limit: int, base: int) -> dict[str, int]:
    return {
        f"{name}.selector": selector,
        f"{name}.attrib": attrib,
        f"{name}.limit": limit,
        f"{name}.base": base,
    }


class Task(NamedTuple):
    """A thread of the host: its task_struct, its LDT if it has one, and the registers that are its own."""

    address: int
    #: The LDT's linear address, or 0.
    ldt: int
    registers: dict[str, int]


def task(host: Host, number: int, memory: Memory) -> Task:
    """Make thread `number`: selectors, bases and LDT by the host's seed, as the descriptors have them."""
    random = Random(f"task {host.seed} {number}")
    address = DIRECT_MAP + TASKS + 0x1000 * number
    ldt = DIRECT_MAP + LDTS + 0x1000 * number if random.random() < 0.5 else 0
    selectors = [0, 0x2B, 0x63] + ([LDT_SEGMENT] if ldt else [])
    registers = _segment("LDTR", 0, 0, 0, 0)
    if ldt:
        memory.write(ldt - DIRECT_MAP + (LDT_SEGMENT & ~7), descriptor(*_LDT_ENTRY))
        registers = _segment("LDTR", LDT_SELECTOR, 0x082, _LDT_LIMIT, ldt)
    for name, base in (("FS", "FS.base"), ("GS", "KernelGSBase")):
        selector = random.choice(selectors)
        attrib, limit, _ = (0, 0, 0) if not selector else SEGMENTS.get(selector, _LDT_ENTRY)
        registers |= {f"{name}.selector": selector, f"{name}.attrib": attrib, f"{name}.limit": limit}
        registers[base] = random.getrandbits(46) & ~0xFFF
    memory.write(address - DIRECT_MAP + THREAD_GSBASE, registers["KernelGSBase"])
    return Task(address, ldt, registers)


def load_task(processor: Processor, thread: Task, seed: int = 0) -> None:
    """switch_to() on the host of `seed`: current_task, LDT descriptor and registers become `thread`'s."""
    memory = processor.memory
    base = area(processor.index, seed)
    entry = base - DIRECT_MAP + GDT + LDT_SELECTOR
    words = {
        base - DIRECT_MAP + FIELDS["current_task"].offset: thread.address,
        entry: descriptor(0x082, _LDT_LIMIT, thread.ldt),
        entry + 8: thread.ldt >> 32,
    }
    written = tuple((pa, memory.write(pa, word), word.to_bytes(8, "little")) for pa, word in words.items())
    name = f"task {(thread.address - DIRECT_MAP - TASKS) >> 12}"
    processor.update("switch_to", name, None, thread.registers, written)


def new_vmcb(memory: Memory, number: int, state: tuple[int, ...]) -> int:
    """Make vCPU `number`'s VMCB with the registers `state`, ordered as guest.REACH; return its address."""
    pa = VMCBS + 0x1000 * number
    vmcb = Vmcb(memory, pa)
    vmcb["ASID"] = number + 1
    vmcb["INTERCEPTS"] = sum(1 << EXITCODES[name] for name in ("VMRUN", *ENDING)) | 1 << MACHINE_CHECK
    for name, value in zip(guest.REACH, state, strict=True):
        if name not in guest.SWAPPED_BY_KVM:
            vmcb[name] = value
    return pa
