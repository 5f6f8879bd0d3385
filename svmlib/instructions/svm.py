"""VMRUN and #VMEXIT, VMSAVE and VMLOAD, CLGI and STGI: what each moves and when it faults.

The rules are read from two emulators and from KVM (sources bochs-svm, qemu-svm-helper, linux-svm-c-2021); the
manual itself was not at hand.  What they agree on was also run on both (emulators-run).
"""

from functools import lru_cache, partial
from struct import Struct

from ..faults import Fault
from ..memory import MAXPHYADDR, PAGE, canonical
from ..processor import CR0_CD, CR0_NW, CR0_PE, CR0_PG, CR4_PAE, EFER_LME, EFER_SVME, Processor
from ..registers import REGISTERS, carried_by
from ..vmcb import CONTROL, Layout
from .msr import EFER_BITS

#: EXITCODE of a VMRUN that refuses its VMCB.
VMEXIT_INVALID = (1 << 64) - 1
#: INTERCEPT_WORD4 bit 0: a VMCB must ask for VMRUN itself to be intercepted.
INTERCEPT_VMRUN = 1

VMSAVE_SET = Layout(carried_by("VMSAVE"))
VMRUN_SET = Layout([name for name in carried_by("VMRUN") if REGISTERS[name].vmcb is not None])

#: Bases that VMLOAD sign-extends from bit 47 (kvm-unit-tests-svm).
_SIGN_EXTENDED = tuple(
    index
    for index, name in enumerate(VMSAVE_SET.names)
    if name in ("FS.base", "GS.base", "LDTR.base", "TR.base", "KernelGSBase")
)
_ATTRIBS = tuple(index for index, name in enumerate(VMSAVE_SET.names) if name.endswith(".attrib"))
_LOW32 = tuple(
    index for index, name in enumerate(VMSAVE_SET.names) if name in ("SYSENTER_ESP", "SYSENTER_EIP")
)

_HOST_BACK = tuple(name for name in VMRUN_SET.names if REGISTERS[name].after_exit == "host")
#: What VMRUN keeps of the host, in the order of Processor.saved_host, and #VMEXIT brings back.
HOST_SET = Layout(_HOST_BACK)
_BACK = (*HOST_SET.names, "DR7")
_DR7_OFF = 0x400
_EXITCODE = slice(CONTROL["EXITCODE"][0], CONTROL["EXITCODE"][0] + 8)
#: Bits of CR4 that no processor here has; five-level paging (bit 12) is one (kvm-unit-tests-svm).
_CR4_RESERVED = 0xFF08_F000
_INTERCEPTS, _ASID = (
    partial(Struct("<I").unpack_from, offset=CONTROL[field][0]) for field in ("INTERCEPT_WORD4", "ASID")
)


def require_svm(p: Processor, what: str) -> None:
    """Raise #UD unless EFER.SVME is set, then #GP(0) outside ring 0 (bochs-svm: in this order)."""
    if not p.regs["EFER"] & EFER_SVME:
        raise Fault("#UD", f"{what} while EFER.SVME is clear")
    if p.regs["CPL"]:
        raise Fault("#GP", f"{what} at CPL {p.regs['CPL']}; it is for ring 0", 0)


def _operand_page(p: Processor, what: str, rax: int) -> bytearray:
    if not isinstance(rax, int):
        raise Fault("#GP", f"{what}: rAX holds {rax!r}, not a physical address", 0)
    page = p.memory.pages.get(rax)
    if page is not None:
        return page
    if rax % PAGE:
        raise Fault("#GP", f"{what}: {rax:#x} is not aligned to 4 KiB", 0)
    if rax >> MAXPHYADDR:
        raise Fault("#GP", f"{what}: {rax:#x} is beyond the {MAXPHYADDR} bits of a physical address", 0)
    if rax >= p.memory.size:
        raise Fault("#GP", f"{what}: there is no RAM at {rax:#x}; the model's ends at {p.memory.size:#x}", 0)
    return p.memory.page(rax)


def vmsave(p: Processor, rax: int) -> None:
    """VMSAVE: store what VMRUN leaves alone, 128 bytes, into the page at physical address `rax`.

    Any page will do: a VMCB, the host save page, plain memory.  #UD without EFER.SVME; #GP(0) outside ring 0
    and for an address that is not a page below 2**40.
    """
    require_svm(p, "VMSAVE")
    page = _operand_page(p, "VMSAVE", rax)
    p.record("VMSAVE", rax, None, (), (), (), VMSAVE_SET.write(page, VMSAVE_SET.values(p.regs), rax))


def vmload(p: Processor, rax: int) -> None:
    """VMLOAD: load FS, GS, TR, LDTR with their hidden parts, KernelGSBase, SYSCALL and SYSENTER registers.

    They come from the page at physical address `rax` as they lie there: no descriptor is read, no busy bit
    looked at, and no content faults; bases are sign-extended.  Nothing in the processor remembers whose
    values they are.  Faults as VMSAVE.
    """
    require_svm(p, "VMLOAD")
    new, registers = _vmload_image(VMSAVE_SET.image(_operand_page(p, "VMLOAD", rax)))
    old = VMSAVE_SET.values(p.regs)
    p.regs.update(registers)
    p.record("VMLOAD", rax, None, VMSAVE_SET.names, old, new)


# Images are decoded once: a run goes through few different ones, and each many times.
@lru_cache(maxsize=512)
def _vmload_image(image: bytes) -> tuple[tuple[int, ...], dict[str, int]]:
    values = list(VMSAVE_SET.read(image))
    for index in _SIGN_EXTENDED:
        values[index] = canonical(values[index])
    for index in _ATTRIBS:
        values[index] &= 0xFFF
    for index in _LOW32:
        values[index] &= 0xFFFF_FFFF
    return tuple(values), dict(zip(VMSAVE_SET.names, values, strict=True))


@lru_cache(maxsize=512)
def _vmrun_image(
    image: bytes, intercepts: int, asid: int
) -> tuple[tuple[int, ...], dict[str, int], str | None]:
    values = VMRUN_SET.read(image)
    guest = dict(zip(VMRUN_SET.names, values, strict=True))
    return values, guest, illegal(guest, intercepts, asid)


def illegal(guest: dict[str, int], intercepts: int, asid: int) -> str | None:
    """Say why VMRUN refuses a VMCB, or None when it is legal (bochs-svm, qemu-svm-helper).

    Not looked at: the addresses of the permission maps, EVENTINJ, and what nested paging asks for.

    `guest` holds the registers as the VMCB has them, `intercepts` its INTERCEPT_WORD4, `asid` its ASID.
    """
    efer, cr0, cr4 = guest["EFER"], guest["CR0"], guest["CR4"]
    if not efer & EFER_SVME:
        return "the guest's EFER.SVME is clear"
    if efer & ~EFER_BITS:
        return f"EFER has the reserved bits {efer & ~EFER_BITS:#x}"
    if not intercepts & INTERCEPT_VMRUN:
        return "VMRUN is not intercepted"
    if not asid:
        return "ASID is 0, the host's"
    for name in ("CR0", "CR4", "DR6", "DR7"):
        if guest[name] >> 32:
            return f"{name}[63:32] is not zero"
    if cr4 & _CR4_RESERVED:
        return f"CR4 has the reserved bits {cr4 & _CR4_RESERVED:#x}"
    if cr0 & CR0_NW and not cr0 & CR0_CD:
        return "CR0.NW is set without CD"
    if efer & EFER_LME and cr0 & CR0_PG:
        if not cr4 & CR4_PAE:
            return "long mode without CR4.PAE"
        if not cr0 & CR0_PE:
            return "long mode without CR0.PE"
        if guest["CR3"] >> 52:
            return "CR3[63:52] is not zero"
        if guest["CS.attrib"] >> 9 & 3 == 3:
            return "CS.L and CS.D are both set in long mode"
    return None


def vmrun(p: Processor, rax: int) -> None:
    """VMRUN: keep the host's half that VMRUN carries, load the guest's from the VMCB at `rax`, set GIF.

    FS, GS, TR, LDTR and the rest of VMSAVE's set stay as they are.  A VMCB that `illegal` refuses ends at
    once in #VMEXIT with EXITCODE VMEXIT_INVALID.  Returns after the #VMEXIT, as on the machine.  Faults as
    VMSAVE.
    """
    require_svm(p, "VMRUN")
    page = _operand_page(p, "VMRUN", rax)
    names = VMRUN_SET.names
    old = VMRUN_SET.values(p.regs)
    before, p.regs["RAX"] = p.regs["RAX"], rax
    p.saved_host = HOST_SET.values(p.regs)
    new, guest, why = _vmrun_image(VMRUN_SET.image(page), *_INTERCEPTS(page), *_ASID(page))
    if why:
        p.record("VMRUN", rax, None, ("RAX",), (before,), (rax,))
        vmexit(p, rax, VMEXIT_INVALID, why)
        return
    p.regs.update(guest)
    p.gif = 1
    p.record("VMRUN", rax, None, names, old, new)
    p.side = "guest"
    if p.guest:
        vmexit(p, rax, p.guest(p, rax))


def vmexit(p: Processor, rax: int, exitcode: int, why: str | None = None) -> None:
    """#VMEXIT: clear GIF, store the guest's half into the VMCB at `rax`, load the host's back.

    What VMSAVE carries and what software carries is still the guest's; so are CR2 and DR6.  DR7 comes back
    disabled.  After VMEXIT_INVALID no guest state is stored.
    """
    page = p.memory.page(rax)
    p.gif = 0
    p.side = "host"
    regs = p.regs
    code = exitcode.to_bytes(8, "little")
    stored = [(rax + _EXITCODE.start, bytes(page[_EXITCODE]), code)]
    page[_EXITCODE] = code
    if exitcode != VMEXIT_INVALID:
        stored += VMRUN_SET.write(page, VMRUN_SET.values(regs), rax)
    if p.saved_host is None:
        raise RuntimeError("#VMEXIT without a VMRUN")
    old = (*HOST_SET.values(regs), regs["DR7"])
    new = (*p.saved_host, _DR7_OFF)
    regs.update(zip(_BACK, new, strict=True))
    p.record("#VMEXIT", why or rax, exitcode, _BACK, old, new, tuple(stored))


def clgi(p: Processor) -> None:
    """CLGI: clear GIF, so that NMI, INTR, SMI and INIT wait.  Faults like VMSAVE, but for the address."""
    require_svm(p, "CLGI")
    p.gif = 0
    p.record("CLGI")


def stgi(p: Processor) -> None:
    """STGI: set GIF; what waited for it arrives here, before the next instruction.  Faults as CLGI."""
    require_svm(p, "STGI")
    p.gif = 1
    p.record("STGI")
    while p.pending and p.gif and p.on_event:
        p.on_event(p, p.pending.pop(0))
