"""The host as it boots: what kind it is, its CPUs' tables, and threads with an FS, GS and LDT of their own.

What differs from kernel to kernel is in `kernels/`; here is what they share.
"""

from collections.abc import Mapping
from functools import lru_cache
from random import Random
from typing import NamedTuple

from .. import profiles
from ..faults import VECTORS
from ..instructions import sev_es
from ..instructions.delivery import gate
from ..instructions.intercepts import EXITCODES
from ..instructions.segments import descriptor
from ..instructions.svm import NESTED_PAGING
from ..memory import DIRECT_MAP, Memory, canonical
from ..processor import Processor
from ..registers import REGISTERS
from ..vmcb import Vmcb
from .percpu import FIELDS, IDT, OFFSETS, SAVE_AREA, area

#: Events that end a guest's run before it has begun, if they wait; and the exit by a machine check.
ENDING = ("INTR", "NMI", "SMI", "INIT")
MACHINE_CHECK = EXITCODES["EXCEPTION"] + VECTORS["#MC"]

#: Physical addresses of task structures, VMCBs, LDTs and VMSAs, a page each.
TASKS, VMCBS, LDTS, VMSAS = 0x200_0000, 0x300_0000, 0x400_0000, 0x500_0000
#: Offsets in a task_struct of what the kernel keeps of the thread's segments: thread.gsbase, thread.fsbase,
#: the selectors, the LDT.  The numbers are ours: Linux's depend on its configuration.
THREAD_GSBASE, THREAD_FSBASE, THREAD_FS, THREAD_GS, THREAD_LDT = 0x18, 0x20, 0x28, 0x2A, 0x30
#: A data segment that each LDT here holds as its second entry.
LDT_SEGMENT = 0x0F
LDT_ENTRY = (0xCF3, 0xFFFFF, 0x0009_2000)
LDT_LIMIT = 0x0F
_SEV_FEATURES, _DEBUG_SWAP = 0x3B0, 1 << 5


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
    #: The kernel, a name of kernels.KERNELS, and the CPU, one of profiles.CPUS.
    kernel: str = "linux"
    cpu: str = "zen3"
    #: Whether vCPU 0 is an SEV-ES guest (the others are not), and whether it swaps debug registers.
    sev_es: bool = False
    debug_swap: bool = False
    #: Whether memory is encrypted by the C-bit.
    sme: bool = False
    #: How the NMI's entry learns its CPU's number where FSGSBASE is in use: "lsl", or "rdpid" as for some
    #: weeks in 2020 (mail-rdpid).
    nmi_cpu: str = "lsl"
    #: What the host keeps in DEBUGCTL, and whether the kernel switches it by hand (commit-433265870ab3).
    debugctl: int = 0
    debugctl_switched: bool = True
    #: Whether guests run guests, and how KVM keeps the two halves: "hsave" or "vmcb02" (nested.py); and
    #: whether the machine executes L1's VMLOAD and VMSAVE.
    nested: str = ""
    virtual_vmload: bool = False
    #: Mistakes on record that the kernel around the path makes: "B10", "B12", "B24".
    bugs: tuple[str, ...] = ()

    @property
    def features(self) -> tuple[str, ...]:
        """What static_cpu_has() knows of."""
        has = {
            "X86_64": self.kernel != "i386",
            "FSGSBASE": self.fsgsbase and self.kernel != "i386",
            "FRED": self.kernel == "fred",
            "DEBUG_SWAP": self.sev_es,
            "V_TSC_AUX": self.sev_es and profiles.cpu(self.cpu).v_tsc_aux,
        }
        return tuple(name for name, on in has.items() if on)


class Task(NamedTuple):
    """A thread of the host: its task_struct, its LDT if it has one, and the registers that are its own."""

    address: int
    #: The LDT's linear address, or 0.
    ldt: int
    registers: dict[str, int]


def segment(name: str, selector: int, attrib: int, limit: int, base: int) -> dict[str, int]:
    """Return the four parts of a segment register by name."""
    return {
        f"{name}.selector": selector,
        f"{name}.attrib": attrib,
        f"{name}.limit": limit,
        f"{name}.base": base,
    }


def write_fields(p: Processor, host: Host, **more: int) -> int:
    """Fill CPU `p`'s area with its number and addresses, and `more`; return the area's linear address."""
    memory, n = p.memory, p.index
    base = area(n, host.seed, memory.direct_map)
    memory.write(memory.translate(memory.direct_map + OFFSETS + 8 * n), base)
    fields = {
        "cpu_number": n,
        "save_area": base + SAVE_AREA,
        "save_area_pa": memory.translate(base + SAVE_AREA),
        "user_return_host": p.regs["TSC_AUX"],
        "user_return_curr": p.regs["TSC_AUX"],
        "spec_ctrl": p.regs["SPEC_CTRL"],
        **more,
    }
    for name, value in fields.items():
        memory.write(memory.translate(base + FIELDS[name].offset), value, FIELDS[name].size)
    return base


def write_idt(
    p: Processor, base: int, entries: Mapping[int, int], selector: int, ist: Mapping[int, int]
) -> None:
    """Write the whole IDT: for each vector of `entries` its handler, on the stack that `ist` names."""
    wide = p.memory.direct_map == DIRECT_MAP
    image = _idt(tuple(entries.items()), selector, tuple(ist.items()), wide)
    p.memory.page(p.memory.translate(base + IDT))[: len(image)] = image


@lru_cache(maxsize=1024)
def _idt(
    entries: tuple[tuple[int, int], ...], selector: int, ist: tuple[tuple[int, int], ...], wide: bool
) -> bytes:
    """Lay out an IDT: hosts boot by the hundred while a path is checked, often the same ones again."""
    size, stacks = (16 if wide else 8), dict(ist)
    image = bytearray(256 * size)
    for vector, handler in entries:
        words = gate(handler, selector, stacks.get(vector, 0))[: 1 + wide]
        at = vector * size
        image[at : at + size] = b"".join(word.to_bytes(8, "little") for word in words)
    return bytes(image)


def make_task(
    host: Host, number: int, memory: Memory, segments: Mapping[int, tuple[int, int, int]], ldt_selector: int
) -> Task:
    """Make thread `number`: selectors out of `segments`, bases and LDT by the host's seed.

    What the kernel has to know of it lies in its task_struct.
    """
    wide = memory.direct_map == DIRECT_MAP
    random = Random(f"task {host.seed} {number}")
    address = memory.direct_map + TASKS + 0x1000 * number
    ldt = memory.direct_map + LDTS + 0x1000 * number if random.random() < 0.5 else 0
    selectors = [0, *segments] + ([LDT_SEGMENT] if ldt and segments else [])
    registers = segment("LDTR", 0, 0, 0, 0)
    if ldt:
        memory.write(memory.translate(ldt + (LDT_SEGMENT & ~7)), descriptor(*LDT_ENTRY))
        registers = segment("LDTR", ldt_selector, 0x082, LDT_LIMIT, ldt)
    for name, base in (("FS", "FS.base"), ("GS", "KernelGSBase" if wide else "GS.base")):
        selector = random.choice(selectors)
        attrib, limit, low = (0, 0, 0) if not selector else segments.get(selector, LDT_ENTRY)
        registers |= {f"{name}.selector": selector, f"{name}.attrib": attrib, f"{name}.limit": limit}
        registers[base] = random.getrandbits(46) & ~0xFFF if wide else low
    kept = {
        THREAD_GSBASE: registers["KernelGSBase" if wide else "GS.base"],
        THREAD_FSBASE: registers["FS.base"],
        THREAD_LDT: ldt,
    }
    for offset, value in kept.items():
        memory.write(memory.translate(address + offset), value)
    for offset, name in ((THREAD_FS, "FS"), (THREAD_GS, "GS")):
        memory.write(memory.translate(address + offset), registers[f"{name}.selector"], 2)
    return Task(address, ldt, registers)


def new_vmcb(memory: Memory, number: int, registers: dict[str, int], host: Host) -> int:
    """Make vCPU `number`'s VMCB with the guest's `registers`; return its address, with the C-bit if any.

    An SEV-ES guest's registers are in its VMSA, those of type B among them.
    """
    pa = VMCBS + 0x1000 * number | memory.c_bit
    vmcb = Vmcb(memory, pa)
    vmcb["ASID"] = number + 1
    vmcb["MISC_CTL"] = NESTED_PAGING
    vmcb["INTERCEPTS"] = sum(1 << EXITCODES[name] for name in ("VMRUN", *ENDING)) | 1 << MACHINE_CHECK
    carried = {name: v for name, v in registers.items() if REGISTERS[name].carrier in ("VMRUN", "VMSAVE")}
    if host.sev_es and number == 0:
        vmsa_pa = VMSAS + 0x1000 * number
        vmcb["MISC_CTL"], vmcb["VMSA_PA"] = NESTED_PAGING | sev_es.SEV_ES, vmsa_pa
        held = Vmcb(Memory(), 0)
        for name, value in carried.items():
            held[name] = value
        page = memory.page(vmsa_pa)
        page[: 0x1000 - sev_es.HOST_AREA] = held.page[sev_es.HOST_AREA :]
        memory.write(vmsa_pa + _SEV_FEATURES, _DEBUG_SWAP * host.debug_swap)
        for row in sev_es.ROWS:
            if row.name in registers:
                memory.write(vmsa_pa + row.offset, registers[row.name], row.size)
        return pa
    for name, value in carried.items():
        vmcb[name] = value
    return pa


def entry_points(host: Host, names: tuple[str, ...]) -> dict[str, int]:
    """Return an address of the kernel's text for each of `names`, the same on every CPU of `host`."""
    every = Random(f"text {host.seed}")
    return {name: canonical(1 << 47 | every.getrandbits(47)) for name in names}
