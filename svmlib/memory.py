"""Physical memory in 4 KiB pages, and the one mapping the host kernel needs: its direct map of all RAM.

Linux maps the whole of physical memory at DIRECT_MAP; per-CPU areas, task structures and descriptor tables
are reached there.  Everything else is unmapped: an access is a #PF.
"""

from struct import Struct

from .faults import AddressError, Fault

PAGE = 4096
#: Physical address bits; VMSAVE, VMLOAD and VMRUN fault on an operand beyond them.
MAXPHYADDR = 40
#: Where Linux maps physical address 0 (Documentation/arch/x86/x86_64/mm.rst, four-level paging).
DIRECT_MAP = 0xFFFF_8880_0000_0000

_MASK64 = (1 << 64) - 1
_WORD = Struct("<Q")


def is_canonical(address: int, bits: int = 48) -> bool:
    """Whether the bits from the highest of `bits` on are alike: 48 with four-level paging, 57 with five."""
    return (address >> bits - 1) in (0, (1 << 65 - bits) - 1)


def canonical(address: int, bits: int = 48) -> int:
    """Sign-extend `address` from the highest of its low `bits`, as VMLOAD does with a base."""
    sign = 1 << bits - 1
    return ((address & (sign * 2 - 1)) ^ sign) - sign & _MASK64


class Memory:
    """Physical memory of `size` bytes; a page comes into being, all zero, when it is first touched."""

    def __init__(self, size: int = 1 << 30):
        """Make `size` bytes of RAM, a multiple of 4096."""
        self.size = size
        self.pages: dict[int, bytearray] = {}

    def page(self, pa: int) -> bytearray:
        """Return the page that starts at physical address `pa`; AddressError if none does."""
        try:
            return self.pages[pa]
        except KeyError:
            if pa % PAGE or not 0 <= pa < self.size:
                raise AddressError(
                    f"{pa:#x} is not the start of a page of RAM (0 to {self.size:#x})"
                ) from None
            page = self.pages[pa] = bytearray(PAGE)
            return page

    def read(self, pa: int, size: int = 8) -> int:
        """Return `size` bytes at physical address `pa` as a little-endian number."""
        offset = pa % PAGE
        page = self.pages.get(pa - offset) or self.page(pa - offset)
        if size == 8 and offset <= PAGE - 8:
            word: int = _WORD.unpack_from(page, offset)[0]
            return word
        return int.from_bytes(page[offset : offset + size], "little")

    def write(self, pa: int, value: int, size: int = 8) -> bytes:
        """Store `value` at physical address `pa` and return the bytes that were there."""
        offset = pa % PAGE
        page = self.page(pa - offset)
        old = bytes(page[offset : offset + size])
        page[offset : offset + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
        return old

    def translate(self, linear: int, size: int = 8, access: int = 0) -> int:
        """Return the physical address behind the kernel's `linear` address.

        Raises #GP(0) for a non-canonical address and #PF for one outside the direct map, or across a page.
        `access` is the #PF's error code: 2 for a write, 4 for one at CPL 3, both, or 0.
        """
        pa = linear - DIRECT_MAP
        if 0 <= pa <= self.size - size and pa % PAGE <= PAGE - size:
            return pa
        if not is_canonical(linear):
            raise Fault("#GP", f"the address {linear:#x} is not canonical", 0)
        if 0 <= pa <= self.size - size:
            why = f"{size} bytes at {linear:#x} cross a page; the model keeps accesses inside one"
            raise Fault("#GP", why, 0)
        raise Fault("#PF", f"nothing is mapped at {linear:#x}", access, linear)
