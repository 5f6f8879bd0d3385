"""Per-CPU data of the host kernel: an area for each CPU, found as that kernel finds it.

64-bit Linux, FreeBSD and NetBSD go through GS, 32-bit Linux through FS, Xen through the stack pointer:
`Processor.per_cpu` says which.  `per_cpu` looks into any CPU's area, and needs none of them.
"""

from typing import NamedTuple

from ..data import rows
from ..instructions import Cpu
from ..memory import C_BIT, DIRECT_MAP

#: Physical address of CPU 0's area; the next CPUs' follow at STRIDE.
AREA = 0x1F20_0000
STRIDE = 0x10_0000
#: In how many places a boot may put them.
PLACES = 128
#: Where each CPU's tables lie, counted from its area.
GDT, TSS, SAVE_AREA, IDT, HOST_VMCB = 0x2000, 0x4000, 0xA000, 0xB000, 0xD000
#: The tops of its stacks: #DF's, #MC's, the NMI's, and the one on which events of user space arrive.
DF_STACK_TOP, MC_STACK_TOP, NMI_STACK_TOP, ENTRY_STACK_TOP = 0x7000, 0x8000, 0x9000, 0xF000
#: The pages of an area that are stacks: those, and the thread's.
STACKS = (0x6000, 0x7000, 0x8000, 0xE000, 0xF000)
#: All of a CPU's stacks lie in the first 64 KiB of its area; Xen's way to the area relies on it.
STACKS_SIZE = 0x1_0000
#: The array __per_cpu_offset[], in physical memory and in the 64-bit kernel's map: each CPU's area.
OFFSETS = 0x240_0000
PER_CPU_OFFSET = DIRECT_MAP + OFFSETS


class Field(NamedTuple):
    """A field of the per-CPU area: offset from its start (ours; Linux's linker decides) and size in bytes."""

    offset: int
    size: int


#: The fields by name (data/percpu.csv).
FIELDS: dict[str, Field] = {
    row["field"]: Field(int(row["offset"], 16), int(row["size"])) for row in rows("percpu")
}


def field(name: str) -> Field:
    """Return the field `name`; KeyError lists those there are."""
    try:
        return FIELDS[name]
    except KeyError:
        raise KeyError(f"no per-CPU field {name!r}; there are {', '.join(FIELDS)}") from None


def area(n: int, seed: int = 0, direct_map: int = DIRECT_MAP) -> int:
    """Return the linear address of CPU `n`'s area on the host of `seed`: its GS base in the kernel.

    A boot chooses where the areas lie.  Hosts of small seeds, which lessons show, have them in one place;
    from 2**16 on the place moves with the seed, so that no path can know it.
    """
    return direct_map + AREA + (seed >> 16) % PLACES * (4 * STRIDE) + n * STRIDE


def is_stack(pa: int) -> bool:
    """Whether physical address `pa` lies on a stack of some CPU."""
    pa &= C_BIT - 1
    return pa >= AREA and (pa - AREA) % STRIDE & ~0xFFF in STACKS


def symbols(cpus: int, seed: int = 0, direct_map: int = DIRECT_MAP, segment: str = "gs") -> dict[int, str]:
    """Name the addresses of `cpus` per-CPU areas, for traces: linear ones, and offsets as -offset - 1."""
    names = {-offset - 1: f"{segment}:{name}" for name, (offset, _) in FIELDS.items()}
    for n in range(cpus):
        names[direct_map + OFFSETS + 8 * n] = f"__per_cpu_offset[{n}]"
        start = area(n, seed, direct_map)
        names |= {start + offset: f"per_cpu({name}, {n})" for name, (offset, _) in FIELDS.items()}
    return names


def this_cpu_read(cpu: Cpu, name: str) -> int:
    """this_cpu_read(): load the field `name` of this CPU's area, as this kernel finds it.

    Through a guest's GS base it reads where the guest chose: a #PF no handler survives, or wrong bytes.
    """
    offset, size = field(name)
    way = cpu._processor.per_cpu
    if way == "GS":
        return cpu.load_gs(offset, size)
    if way == "FS":
        return cpu.load_fs(offset, size)
    return cpu.load(_behind_stack(cpu) + offset, size)


def this_cpu_write(cpu: Cpu, name: str, value: int) -> None:
    """this_cpu_write(): store `value` into the field `name` of this CPU's area."""
    offset, size = field(name)
    way = cpu._processor.per_cpu
    if way == "GS":
        cpu.store_gs(offset, value, size)
    elif way == "FS":
        cpu.store_fs(offset, value, size)
    else:
        cpu.store(_behind_stack(cpu) + offset, value, size)


def _behind_stack(cpu: Cpu) -> int:
    """Round the stack pointer down, as Xen's get_cpu_info() does; no segment has a part in it (xen-svm)."""
    return cpu._processor.regs["RSP"] & -STACKS_SIZE


def per_cpu(cpu: Cpu, n: int, name: str) -> int:
    """per_cpu(name, n): load `name` of CPU `n`'s area, whatever GS holds, by way of __per_cpu_offset[]."""
    offset, size = field(name)
    return cpu.load(cpu.load(_offsets(cpu) + 8 * n) + offset, size)


def cpu_kernelmode_gs_base(cpu: Cpu, n: int) -> int:
    """cpu_kernelmode_gs_base(n): the GS base that CPU `n` has in the kernel, without looking at GS."""
    return cpu.load(_offsets(cpu) + 8 * n)


def phys_to_virt(cpu: Cpu, pa: int) -> int:
    """Return the linear address at which the kernel maps physical address `pa`; its C-bit is in the map."""
    memory = cpu._processor.memory
    return memory.direct_map + (pa & ~memory.c_bit)


def page_to_phys(cpu: Cpu, address: int) -> int:
    """Return the physical address behind a linear one as page_to_phys() does: without the C-bit."""
    return address - cpu._processor.memory.direct_map


def sme_page_pa(cpu: Cpu, address: int) -> int:
    """Return the physical address behind a linear one as __sme_page_pa() does: with the C-bit, if any."""
    memory = cpu._processor.memory
    return address - memory.direct_map | memory.c_bit


def _offsets(cpu: Cpu) -> int:
    return cpu._processor.memory.direct_map + OFFSETS
