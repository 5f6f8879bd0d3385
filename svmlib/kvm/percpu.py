"""Per-CPU data of the host kernel: an area for each CPU, found through that CPU's GS base."""

from typing import NamedTuple

from ..data import rows
from ..instructions import Cpu
from ..memory import DIRECT_MAP

#: Physical address of CPU 0's area; the next CPUs' follow at STRIDE.
AREA = 0x1F20_0000
STRIDE = 0x10_0000
#: In how many places a boot may put them.
PLACES = 128
#: Where each CPU's tables lie, counted from its area.
GDT, TSS, NMI_STACK_TOP, SAVE_AREA = 0x2000, 0x4000, 0x9000, 0xA000
#: The pages of an area that are stacks: the NMI's and the thread's.
STACKS = (NMI_STACK_TOP - 0x1000, 0xF000)
#: The array __per_cpu_offset[]: linear address of each CPU's area.
PER_CPU_OFFSET = DIRECT_MAP + 0x240_0000


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


def area(n: int, seed: int = 0) -> int:
    """Return the linear address of CPU `n`'s area on the host of `seed`: its GS base in the kernel.

    A boot chooses where the areas lie.  Hosts of small seeds, which lessons show, have them in one place;
    from 2**16 on the place moves with the seed, so that no path can know it.
    """
    return DIRECT_MAP + AREA + (seed >> 16) % PLACES * (4 * STRIDE) + n * STRIDE


def is_stack(pa: int) -> bool:
    """Whether physical address `pa` lies on a stack of some CPU."""
    return pa >= AREA and (pa - AREA) % STRIDE & ~0xFFF in STACKS


def symbols(cpus: int, seed: int = 0) -> dict[int, str]:
    """Name the addresses of `cpus` per-CPU areas, for traces: linear ones, and gs offsets as -offset - 1."""
    names = {-offset - 1: f"gs:{name}" for name, (offset, _) in FIELDS.items()}
    for n in range(cpus):
        names[PER_CPU_OFFSET + 8 * n] = f"__per_cpu_offset[{n}]"
        names |= {area(n, seed) + offset: f"per_cpu({name}, {n})" for name, (offset, _) in FIELDS.items()}
    return names


def this_cpu_read(cpu: Cpu, name: str) -> int:
    """this_cpu_read(): load the field `name` of this CPU's area, through GS.

    With a guest's GS base it reads where the guest chose: a #PF no handler survives, or wrong bytes.
    """
    offset, size = field(name)
    return cpu.load_gs(offset, size)


def per_cpu(cpu: Cpu, n: int, name: str) -> int:
    """per_cpu(name, n): load `name` of CPU `n`'s area, whatever GS holds, by way of __per_cpu_offset[]."""
    offset, size = field(name)
    return cpu.load(cpu.load(PER_CPU_OFFSET + 8 * n) + offset, size)


def cpu_kernelmode_gs_base(cpu: Cpu, n: int) -> int:
    """cpu_kernelmode_gs_base(n): the GS base that CPU `n` has in the kernel, without looking at GS."""
    return cpu.load(PER_CPU_OFFSET + 8 * n)
