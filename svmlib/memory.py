"""Physical memory in 4 KiB pages, and the one mapping the host kernel needs: its direct map of all RAM.

Linux maps the whole of physical memory at DIRECT_MAP; per-CPU areas, task structures and descriptor tables
are reached there.  Everything else is unmapped: an access is a #PF.

With SME a bit of the physical address, the C-bit, says whether the memory controller encrypts.  So each page
has two addresses, and what was written at the one reads as ciphertext at the other
(mail-lendacky-c-bit).
"""

from struct import Struct

from .faults import AddressError, Fault

PAGE = 4096
#: Physical address bits; VMSAVE, VMLOAD and VMRUN fault on an operand beyond them.
MAXPHYADDR = 40
#: Where Linux maps physical address 0 (Documentation/arch/x86/x86_64/mm.rst, four-level paging).
DIRECT_MAP = 0xFFFF_8880_0000_0000

#: Where a 32-bit kernel of Linux maps it that reaches a whole gigabyte (its option VMSPLIT_3G_OPT).
DIRECT_MAP_32 = 0xB000_0000
#: The C-bit of a host with SME.  Its number is ours: it lies just below MAXPHYADDR, as CPUs have it.
C_BIT = 1 << MAXPHYADDR - 1

_MASK64 = (1 << 64) - 1
#: What encryption does to a page here: a fixed pattern, its own inverse, in place of a cipher.
_CIPHER = int.from_bytes(bytes((n * 167 + 89) & 0xFF for n in range(PAGE)), "little")
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

    def __init__(self, size: int = 1 << 30, *, direct_map: int = DIRECT_MAP, sme: bool = False):
        """Make `size` bytes of RAM, a multiple of 4096, which the kernel maps at `direct_map`.

        With `sme` an address may carry the C-bit, and the kernel's own map does.
        """
        self.size = size
        self.direct_map = direct_map
        self.c_bit = C_BIT if sme else 0
        #: By the address at which each page was last looked at: with or without the C-bit.
        self.pages: dict[int, bytearray] = {}

    def page(self, pa: int) -> bytearray:
        """Return the page that starts at physical address `pa`; AddressError if none does."""
        try:
            return self.pages[pa]
        except KeyError:
            if pa % PAGE or not 0 <= pa & ~self.c_bit < self.size:
                raise AddressError(
                    f"{pa:#x} is not the start of a page of RAM (0 to {self.size:#x})"
                ) from None
            page = self.pages[pa] = self._other_alias(pa) or bytearray(PAGE)
            return page

    def _other_alias(self, pa: int) -> bytearray | None:
        """Take a page from its other address, where it has been looked at, and make it what `pa` shows."""
        page = self.pages.pop(pa ^ self.c_bit, None) if self.c_bit else None
        if page is not None:
            page[:] = (int.from_bytes(page, "little") ^ _CIPHER).to_bytes(PAGE, "little")
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
        """Return the physical address behind the kernel's `linear` address, with the C-bit if there is SME.

        Raises #GP(0) for a non-canonical address and #PF for one outside the direct map, or across a page.
        `access` is the #PF's error code: 2 for a write, 4 for one at CPL 3, both, or 0.
        """
        pa = linear - self.direct_map
        if 0 <= pa <= self.size - size and pa % PAGE <= PAGE - size:
            return pa | self.c_bit
        if not is_canonical(linear):
            raise Fault("#GP", f"the address {linear:#x} is not canonical", 0)
        if 0 <= pa <= self.size - size:
            why = f"{size} bytes at {linear:#x} cross a page; the model keeps accesses inside one"
            raise Fault("#GP", why, 0)
        raise Fault("#PF", f"nothing is mapped at {linear:#x}", access, linear)
