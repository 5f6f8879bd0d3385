"""VMRUN and #VMEXIT of an SEV-ES guest: who saves a register and who loads it are three types of swap.

type  at VMRUN the host's is      at #VMEXIT the host's is      which
A     saved by VMRUN              loaded                        what VMRUN carries
B     not saved                   loaded from the host's page   what VMSAVE carries, and data/sev_es.csv
C     not saved                   set to its reset value        the FPU, which the model has not

The host's page begins at VM_HSAVE_PA + 0x400, the guest's, its VMSA, at the VMCB's VMSA_PA.  So the host has
to fill in type B before VMRUN, by VMSAVE and by hand, and has to leave VMLOAD away afterwards
(linux-sev-c-2025, linux-vmenter-2024).  No emulator runs SEV-ES: nothing but those sources stands behind this
module.  The VMSA is plain memory here, on the machine encrypted.
"""

from typing import Any, NamedTuple

from ..data import rows
from ..memory import Memory
from ..processor import Processor
from ..registers import carried_by
from ..vmcb import CONTROL, Layout
from .msr import linear_bits

#: MISC_CTL bit 2: an SEV-ES guest.  SEV_FEATURES in the VMSA, and its bit for DebugSwap.
SEV_ES = 1 << 2
_SEV_FEATURES, _DEBUG_SWAP = 0x3B0, 1 << 5
#: Where the save area begins in the host's page.
HOST_AREA = 0x400
_VMSAVE_SET = Layout(carried_by("VMSAVE"))
_VMSA_PA = CONTROL["VMSA_PA"][0]


class Row(NamedTuple):
    """A register of type B beyond VMSAVE's set: its place in the save area, and what it depends on."""

    name: str
    offset: int
    size: int
    #: "" always, "DebugSwap" where the VMSA's SEV_FEATURES ask for it, "V_TSC_AUX" where the CPU has it.
    when: str


#: The rows of data/sev_es.csv.
ROWS = tuple(
    Row(row["name"], int(row["offset"], 16), int(row["bits"]) // 8, row["when"]) for row in rows("sev_es")
)


def vmsa(page: bytearray) -> int:
    """Return the physical address of the VMSA that a VMCB page names."""
    return int.from_bytes(page[_VMSA_PA : _VMSA_PA + 8], "little")


def shifted(memory: Memory, pa: int) -> bytearray:
    """Return a VMSA as a VMCB page would hold it, its save area at 0x400."""
    return bytearray(HOST_AREA) + memory.page(pa)[: 0x1000 - HOST_AREA]


def type_b(p: Processor, vmsa_pa: int) -> tuple[Row, ...]:
    """Return the rows that are swapped for the guest of the VMSA at `vmsa_pa`."""
    features = p.memory.read(vmsa_pa + _SEV_FEATURES)
    on = {"", *(["DebugSwap"] if features & _DEBUG_SWAP else [])}
    if p.features.v_tsc_aux:
        on.add("V_TSC_AUX")
    return tuple(row for row in ROWS if row.when in on)


def load(p: Processor, what: str, area: int, chosen: tuple[Row, ...]) -> None:
    """Load type B from the save area at physical address `area`, bases sign-extended as VMLOAD has them."""
    from .svm import vmload_image

    start = area & ~0xFFF
    page = p.memory.page(start)
    image = page if area - start == HOST_AREA else shifted(p.memory, start)
    _, registers = vmload_image(_VMSAVE_SET.image(image), p.options, linear_bits(p))
    new = dict(registers) | {row.name: p.memory.read(area + row.offset, row.size) for row in chosen}
    p.update(what, "type B", area, new)


def store_guest(p: Processor, vmsa_pa: int, layouts: tuple[Layout, ...], chosen: tuple[Row, ...]) -> Any:
    """Store the guest's registers into its VMSA; return the memory written, for the step."""
    page = shifted(p.memory, vmsa_pa)
    for layout in layouts:
        layout.write(page, layout.values(p.regs))
    for row in chosen:
        at = HOST_AREA + row.offset
        value = p.regs[row.name] & ((1 << 8 * row.size) - 1)
        page[at : at + row.size] = value.to_bytes(row.size, "little")
    real = p.memory.page(vmsa_pa)
    end = 0x1000 - HOST_AREA
    old, new = bytes(real[:end]), bytes(page[HOST_AREA:])
    real[:end] = new
    return ((vmsa_pa, old, new),)
