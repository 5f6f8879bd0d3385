"""The guest: at every entry it looks for its registers as it left them, then overwrites all it can reach."""

from functools import lru_cache
from operator import itemgetter
from random import Random

from ..memory import DIRECT_MAP, DIRECT_MAP_32, canonical
from ..processor import CR0_ET, CR0_PE, CR0_PG, CR4_PAE, EFER_SVME
from ..registers import REGISTERS, carried_by

_CR0 = CR0_PG | CR0_PE | CR0_ET
#: Registers that KVM swaps around VMRUN in its own code, whatever the path: GPRs, DRs, XCR0 and the like.
SWAPPED_BY_KVM = tuple(name for name in carried_by("software") if name != "TSC_AUX")
_CARRIED = carried_by("VMRUN") + carried_by("VMSAVE")
#: All that a guest can reach.
REACH = (*_CARRIED, *SWAPPED_BY_KVM)
values = itemgetter(*REACH)
#: How many different states a guest goes through before it begins again.
STATES = 4

_ATTRIBS = (0xC93, 0xCF3, 0x093, 0x0F3)
_FIXED = {"CPL": 0, "EFER": EFER_SVME | 0xD01, "CS.attrib": 0xA9B, "TR.attrib": 0x08B, "LDTR.attrib": 0x082}
_WIDE = frozenset({"KernelGSBase", "STAR", "LSTAR", "CSTAR", "SFMASK"})
_CHOICES = {
    "CR0": (_CR0, _CR0 | 1 << 16 | 1 << 5, _CR0 | 1 << 1),
    "CR4": (CR4_PAE, CR4_PAE | 1 << 7, CR4_PAE | 1 << 9 | 1 << 16),
    "RFLAGS": (0x2, 0x202, 0x246),
    "DR6": (0xFFFF0FF0, 0xFFFF0FF1, 0xFFFF4FF0),
    "DR7": (0x400, 0x402, 0x40A),
    "PAT": (0x0007040600070406, 0x0007010600070106),
    "SPEC_CTRL": (1, 2, 4),
    "XCR0": (1, 3, 7),
    "XSS": (1 << 11, 1 << 12, 3 << 11),
}


#: How many guests are remembered: a grader meets those of its class's seed again with every submission.
_KNOWN = 1024


@lru_cache(maxsize=_KNOWN)
def states(seed: int, vcpu: int, wide: bool = True) -> tuple[tuple[int, ...], ...]:
    """Return STATES register states in the order of REACH, made from `seed` for vCPU number `vcpu`.

    Without `wide` they are those of a 32-bit guest, which has neither long mode nor its registers.  GS bases
    are in turn one the host does not map, and one inside the host's direct map, as a guest may choose either.
    """
    random = Random(f"guest {seed} {vcpu}")
    made = []
    for turn in range(STATES):
        state = [_value(random, name) for name in REACH]
        base = random.randrange(1, 1 << 35) << 12
        if turn % 2:
            base = DIRECT_MAP + (base & 0x0FFF_F000)
        state[REACH.index("GS.base")] = base
        if not wide:
            base = DIRECT_MAP_32 * (turn % 2) + (base & 0x0FFF_F000)
            state = [_narrow(name, value, base) for name, value in zip(REACH, state, strict=True)]
        made.append(tuple(state))
    return tuple(made)


@lru_cache(maxsize=_KNOWN)
def registers(seed: int, vcpu: int, wide: bool = True) -> tuple[dict[str, int], ...]:
    """Return the same states as dicts of REACH, ready to be loaded."""
    return tuple(dict(zip(REACH, state, strict=True)) for state in states(seed, vcpu, wide))


def _narrow(name: str, value: int, base: int) -> int:
    """Return what a 32-bit guest has instead of `value`; `base` is where its FS and GS begin."""
    if name in ("FS.base", "GS.base"):
        return base
    if name in _WIDE or (name[0] == "R" and name[1:].isdecimal()):
        return 0
    fixed = {"EFER": EFER_SVME | 1 << 11, "CS.attrib": 0xC9B}
    return fixed.get(name, value if name in ("PAT", "XSS") else value & 0xFFFF_FFFF)


def _value(random: Random, name: str) -> int:
    if name in _FIXED:
        return _FIXED[name]
    if name in _CHOICES:
        return random.choice(_CHOICES[name])
    if name.endswith(".attrib"):
        return random.choice(_ATTRIBS)
    row = REGISTERS[name]
    if name == "CR3":
        return random.getrandbits(28) << 12
    if name.endswith("DTR.limit"):
        return random.getrandbits(16)
    if row.write in ("low32", "sysenter") or row.bits < 64:
        return random.getrandbits(min(row.bits, 32))
    if name.endswith(".base") or row.write == "canonical" or name in ("RIP", "RSP"):
        return canonical(random.getrandbits(48))
    return random.getrandbits(64)
